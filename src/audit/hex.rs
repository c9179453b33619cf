/// `bytes` in lower-case hexadecimal, as far as there is room for it.
pub(super) fn write(bytes: &[u8], out: &mut [u8]) {
    for (byte, digits) in bytes.iter().zip(out.chunks_exact_mut(2)) {
        digits.copy_from_slice(&DIGITS[usize::from(*byte)]);
    }
}

const DIGITS: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    #[test]
    fn every_byte_is_two_digits() {
        let mut out = [0; 6];
        super::write(&[0x00, 0x1f, 0xa0], &mut out);
        assert_eq!(&out, b"001fa0");
    }
}
