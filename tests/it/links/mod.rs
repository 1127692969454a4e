//! Links of gateways into a server.

mod full_disk;
mod protocol;
