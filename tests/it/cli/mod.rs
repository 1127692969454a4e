//! The command line, as somebody at a terminal meets it.

mod config;
mod output;
mod settings_tables;
mod store;
