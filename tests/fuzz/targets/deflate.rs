//! Compression: whatever comes is inflated within its bound or refused, whatever is compressed is
//! inflated to the same.

use tidings::proto::websocket::deflate::{composed, deflated_size_max};
use tidings::proto::websocket::{Deflater, FrameError, Inflater};

/// The largest message, for the smallest and the largest first byte.
const SIZES_MAX: [usize; 4] = [0, 300, 4_096, 100_000];

/// Inflates bytes of a peer, and compresses the same bytes.
pub fn deflate(data: &[u8]) {
    let Some((&first, payload)) = data.split_first() else {
        return;
    };
    let size_max = SIZES_MAX[usize::from(first) % SIZES_MAX.len()];
    let mut inflater = Inflater::new();
    let inflated = inflater.inflate(payload, size_max).map(<[u8]>::to_vec);
    match &inflated {
        Ok(bytes) => assert!(bytes.len() <= size_max),
        Err(FrameError::MessageTooLarge(told)) => assert_eq!(*told, size_max),
        Err(error) => assert_eq!(*error, FrameError::DeflateStream),
    }
    // The message before leaves nothing behind.
    let again = inflater.inflate(payload, size_max).map(<[u8]>::to_vec);
    assert_eq!(again, inflated);
    round_trip(&mut inflater, payload);
}

fn round_trip(inflater: &mut Inflater, data: &[u8]) {
    let mut deflater = Deflater::new();
    if let Some(deflated) = deflater.message(data) {
        assert!(deflated.len() < data.len() && deflated.len() <= deflated_size_max(data.len()));
        assert_eq!(inflater.inflate(&deflated, data.len()), Ok(data));
    }
    let (head, end) = (b"{\"data\":", b"}");
    if let Some(blocks) = deflater.blocks(data) {
        let payload = composed(head, &blocks, end);
        let whole = [head, data, end].concat();
        assert_eq!(inflater.inflate(&payload, whole.len()), Ok(&whole[..]));
    }
}
