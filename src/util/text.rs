/// The UTF-8 byte-order mark, which editors put before a text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Whether there is nothing in a text file: one that was cut off, or whose writer has only begun.
#[cfg(any(feature = "crl", feature = "passwords"))]
pub(crate) fn is_blank(content: &[u8]) -> bool {
    unmarked(content).trim_ascii().is_empty()
}

/// The content of a text file without its byte-order mark.
pub(crate) fn unmarked(content: &[u8]) -> &[u8] {
    content.strip_prefix(BYTE_ORDER_MARK).unwrap_or(content)
}
