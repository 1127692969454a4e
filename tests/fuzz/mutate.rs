//! Random changes of inputs; the same seed makes the same inputs.

/// Bytes and texts that decide something in one format or another.
const TOKENS: &[&[u8]] = &[
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b" ",
    b":",
    b"0\r\n\r\n",
    b"ffffffffffffffff",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: a\r\n",
    b"HTTP/1.0",
    b"websocket",
    b"\x81\x85",
    b"\x01\x80",
    b"\x80\x80",
    b"\x89\x80",
    b"\x88\x82",
    b"\xfe",
    b"\xff",
    b"\xe2\x82\xac",
    b"\xed\xa0\x80",
    b"null",
    b"\"n\":0,",
    b"\"n\":18446744073709551615,",
    b"[[[[[[[[",
    b"{\"type\":\"pub\",",
    b"\\u0000",
    b"\\ud800",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
];

/// Inputs do not grow beyond this, in bytes: a longer one costs more and finds nothing new.
const SIZE_MAX: usize = 4_096;

/// Random numbers from a seed (SplitMix64).
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice that roll the same whenever the seed is the same.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below the bound, which isn't 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.roll() % bound as u64) as usize
    }

    /// A place in something of this size, or at its end.
    fn place(&mut self, size: usize) -> usize {
        self.below(size + 1)
    }

    fn range(&mut self, size: usize) -> std::ops::Range<usize> {
        let (one, other) = (self.place(size), self.place(size));
        one.min(other)..one.max(other)
    }
}

/// Changes an input in one to four places; `other` is another input of the same target.
pub fn mutate(input: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    for _ in 0..=dice.below(4) {
        change(input, other, dice);
    }
    input.truncate(SIZE_MAX);
}

fn change(input: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    let place = dice.place(input.len());
    match dice.below(8) {
        0 if place < input.len() => input[place] ^= 1 << dice.below(8),
        1 if place < input.len() => input[place] = dice.roll() as u8,
        2 => input.insert(place, dice.roll() as u8),
        3 => drop(input.drain(dice.range(input.len()))),
        4 => input.truncate(place),
        5 => {
            let token = TOKENS[dice.below(TOKENS.len())];
            let end = match dice.below(2) {
                0 => place,
                _ => (place + token.len()).min(input.len()),
            };
            input.splice(place..end, token.iter().copied());
        }
        6 => {
            let copied = input[dice.range(input.len())].to_vec();
            input.splice(place..place, copied);
        }
        _ => {
            let taken = &other[dice.range(other.len())];
            input.splice(place..place, taken.iter().copied());
        }
    }
}
