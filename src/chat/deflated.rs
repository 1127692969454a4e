//! Whether a message is compressed before it is said.

use super::Chat;
use super::message::{NewMessage, Recipient};
use super::sink::Sink;
use crate::base::DeflatedData;

impl Chat {
    /// Has a message compressed that this server itself sends to more than one connection. In a cluster it
    /// comes back to this node as to any other, which compresses what it hears.
    pub(super) fn deflated(
        &self,
        sink: &mut dyn Sink,
        to: &[Recipient<'_>],
        message: &NewMessage<'_>,
    ) -> Option<DeflatedData> {
        let is_for_many = |to: &Recipient<'_>| !matches!(to, Recipient::Fd(_));
        match !self.common.in_cluster() && to.iter().any(is_for_many) {
            true => sink.deflate(message.data),
            false => None,
        }
    }
}
