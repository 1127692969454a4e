//! What has come of a PROXY header.

use crate::handover::{HandoverError, RecordReader};
use crate::proto::proxy_protocol::{HEADER_SIZE_MAX, NoProxyHeader, ProxyHeaderSource, parse};

/// The bytes of a header that isn't whole.
#[derive(Debug, Default)]
pub(super) struct Preface {
    pub(super) bytes: Vec<u8>,
}

impl Preface {
    /// Takes bytes that came; returns what the header says and how many of them belong to it, or `None`
    /// until it is whole.
    pub(super) fn receive(
        &mut self,
        bytes: &[u8],
    ) -> Result<Option<(ProxyHeaderSource, usize)>, NoProxyHeader> {
        let before = self.bytes.len();
        let room = HEADER_SIZE_MAX - before;
        self.bytes
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
        let read = parse(&self.bytes)?;
        Ok(read.map(|(source, size)| (source, size - before)))
    }

    pub(super) fn take_over(record: &mut RecordReader<'_>) -> Result<Box<Self>, HandoverError> {
        let bytes = record.bytes()?.to_vec();
        match parse(&bytes) {
            Ok(None) => Ok(Box::new(Self { bytes })),
            _ => Err(record.refuse("a connection begins with no part of a PROXY header")),
        }
    }
}
