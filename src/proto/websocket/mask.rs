//! The mask that every frame of a client has (RFC 6455 §5.3).

/// Takes a mask off (or puts it on: both are the same operation); `mask[0]` belongs to `bytes[0]`.
///
/// For bytes from the middle of a payload, rotate the mask first: `mask.rotate_left(offset % 4)`.
#[inline]
pub fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let quad = u32::from_ne_bytes(mask);
    let wide = (u64::from(quad) << 32) | u64::from(quad);
    // The compiler turns a plain loop over words of a fixed size into vector code.
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    let (quads, rest) = rest.as_chunks_mut::<4>();
    for bytes in quads {
        *bytes = (u32::from_ne_bytes(*bytes) ^ quad).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [0x6d, 0xb6, 0xb2, 0x80];

    #[test]
    fn every_size_is_unmasked_as_byte_by_byte() {
        for size in 0..70u8 {
            let masked: Vec<u8> = (0..size).collect();
            let expected: Vec<u8> = (masked.iter().zip(MASK.iter().cycle()))
                .map(|(byte, mask)| byte ^ mask)
                .collect();
            let mut unmasked = masked;
            unmask(&mut unmasked, MASK);
            assert_eq!(unmasked, expected, "size {size}");
        }
    }

    #[test]
    fn the_mask_of_rfc_6455_section_5_7_gives_hello() {
        let mut bytes = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
        unmask(&mut bytes, [0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(&bytes, b"Hello");
    }
}
