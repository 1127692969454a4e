//! The ground floor: ids, time, pressure, and the description of a number.
//!
//! Every other layer may use this one; this one uses none. It holds what two layers that know
//! nothing of each other have to agree on, and nothing else: a type comes in here only if it is an
//! id, a moment, a level of pressure, or what a reader has to know of a number. State, protocols
//! and input or output never do.

pub mod clock;
pub mod fd;
mod foreign;
pub mod metric;
pub mod position;
pub mod pressure;
pub mod sync;
mod tick;

pub use fd::{Fd, REACTORS_MAX};
pub use foreign::ForeignText;
pub use metric::{Metric, MetricKind};
pub use position::{Epoch, Position};
pub use pressure::{Pressure, Watermarks};
pub use tick::Tick;
