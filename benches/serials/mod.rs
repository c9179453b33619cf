//! Serial numbers as CAs make them.

/// As random as need be, and the same in each run: two rounds of splitmix64.
pub(crate) fn serial(number: u64) -> [u8; 16] {
    let mixed = |seed: u64| {
        let mut word = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    };
    let first = mixed(number);
    let mut serial = [0; 16];
    serial[..8].copy_from_slice(&first.to_be_bytes());
    serial[8..].copy_from_slice(&mixed(first).to_be_bytes());
    // Positive and of 16 octets, as CAs make them.
    serial[0] = (serial[0] & 0x7f) | 0x40;
    serial
}
