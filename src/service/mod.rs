//! The program as a service of the system: started in the background, named by a PID file, and at the
//! terminal that it may have.

mod background;
mod pid_file;
mod terminal;

pub use background::{StartReport, detached, start_in_background};
pub use pid_file::PidFile;
pub use terminal::has_terminal;
