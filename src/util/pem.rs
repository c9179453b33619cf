use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::{Zeroize, Zeroizing};

use super::pem_error::{PemError, PemProblem};
use super::text::unmarked;

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

/// The labels whose content is known here, whether it is wanted or not (RFC 7468 §4, OpenSSL's `pem.h`).
const KNOWN: [&str; 19] = [
    "CERTIFICATE",
    "X509 CERTIFICATE",
    "TRUSTED CERTIFICATE",
    "X509 CRL",
    "PRIVATE KEY",
    "RSA PRIVATE KEY",
    "EC PRIVATE KEY",
    "DSA PRIVATE KEY",
    "ENCRYPTED PRIVATE KEY",
    "OPENSSH PRIVATE KEY",
    "ANY PRIVATE KEY",
    "PUBLIC KEY",
    "RSA PUBLIC KEY",
    "EC PARAMETERS",
    "DSA PARAMETERS",
    "DH PARAMETERS",
    "X9.42 DH PARAMETERS",
    "CERTIFICATE REQUEST",
    "NEW CERTIFICATE REQUEST",
];

/// Base64 of a DER SEQUENCE of 256 bytes and more begins so.
const LONG_SEQUENCE: &[u8] = b"MI";

/// One section of a PEM file: what stands between a BEGIN and its END.
#[derive(Debug)]
pub(crate) struct Section {
    /// What it is said to be: `CERTIFICATE`, `X509 CRL`, …
    pub(crate) label: String,
    /// Its content; wiped, for it may be a private key.
    pub(crate) der: Zeroizing<Vec<u8>>,
    /// The line of its BEGIN, from 1.
    pub(crate) line: usize,
    /// Whether it has the headers of RFC 1421, as an encrypted key does.
    pub(crate) has_headers: bool,
}

impl Section {
    pub(crate) fn into_der(mut self) -> Vec<u8> {
        std::mem::take(&mut *self.der)
    }
}

pub(crate) fn is_known(label: &str) -> bool {
    KNOWN.contains(&label)
}

/// Whether some section begins here, however damaged.
pub(crate) fn begins_a_section(content: &[u8]) -> bool {
    find(content, BEGIN).is_some()
}

/// Every section of a PEM file, in order, or what hinders that: none is ever passed over.
///
/// Read is what other programs write and read (RFC 7468 §3, its lax form, and more): text before,
/// between and after the sections, LF, CRLF and CR, a byte-order mark, no line end before or after a
/// BEGIN or an END, spaces in and around the lines, one line for all.
pub(crate) fn sections(content: &[u8]) -> Result<Vec<Section>, PemError> {
    match sections_before_error(content) {
        (sections, None) => Ok(sections),
        (_, Some(error)) => Err(error),
    }
}

/// As [`sections`], with those that come before what cannot be read: for a caller that keeps what it has
/// in the place of the rest.
pub(crate) fn sections_before_error(content: &[u8]) -> (Vec<Section>, Option<PemError>) {
    if content.starts_with(b"\xff\xfe") || content.starts_with(b"\xfe\xff") {
        return (Vec::new(), Some(at(1, PemProblem::Utf16)));
    }
    let mut reader = Reader::default();
    let mut lines = (1..).zip(Lines(Some(unmarked(content))));
    let mut last = (1, &b""[..]);
    let error = lines.find_map(|(number, line)| {
        last = (number, line);
        reader.line(number, line).err()
    });
    let cut_off = |open: &Open| at(open.line, PemProblem::NoEnd);
    let error = error.or_else(|| reader.open.as_ref().map(cut_off));
    let (number, line) = last;
    let error = error.or_else(|| is_begun(line).then(|| at(number, PemProblem::Marker)));
    (reader.sections, error)
}

#[derive(Default)]
struct Reader {
    sections: Vec<Section>,
    open: Option<Open>,
}

/// A section whose END has not come.
struct Open {
    label: String,
    line: usize,
    base64: Zeroizing<Vec<u8>>,
    headers: Headers,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Headers {
    None,
    /// They are being read, up to an empty line (RFC 1421 §4.4).
    Now,
    Over,
}

impl Reader {
    fn line(&mut self, number: usize, line: &[u8]) -> Result<(), PemError> {
        let mut rest = line;
        loop {
            let next = match self.open.take() {
                None => self.outside(number, rest)?,
                Some(open) => self.inside(open, number, rest)?,
            };
            match next {
                Some(next) => rest = next,
                None => return Ok(()),
            }
        }
    }

    /// Reads text; gives what is after the BEGIN that is in it.
    fn outside<'a>(&mut self, number: usize, text: &'a [u8]) -> Result<Option<&'a [u8]>, PemError> {
        let Some(begin) = find(text, BEGIN) else {
            check_text(text).map_err(|problem| at(number, problem))?;
            return Ok(None);
        };
        check_text(&text[..begin]).map_err(|problem| at(number, problem))?;
        let (label, rest) =
            label(&text[begin + BEGIN.len()..]).ok_or_else(|| at(number, PemProblem::Marker))?;
        self.open = Some(Open {
            label,
            line: number,
            base64: Zeroizing::default(),
            headers: Headers::None,
        });
        Ok(Some(rest))
    }

    /// Reads content; gives what is after the END that is in it.
    fn inside<'a>(
        &mut self,
        mut open: Open,
        number: usize,
        text: &'a [u8],
    ) -> Result<Option<&'a [u8]>, PemError> {
        let Some(dashes) = find(text, DASHES) else {
            open.content(text).map_err(|problem| at(number, problem))?;
            self.open = Some(open);
            return Ok(None);
        };
        open.content(&text[..dashes])
            .map_err(|problem| at(number, problem))?;
        let marker = &text[dashes..];
        if marker.starts_with(BEGIN) {
            return Err(at(open.line, PemProblem::NoEnd));
        }
        let end = marker.strip_prefix(END).and_then(label);
        let (label, rest) = end.ok_or_else(|| at(number, PemProblem::Marker))?;
        if label != open.label {
            return Err(at(number, PemProblem::OtherEnd));
        }
        self.sections.push(open.close()?);
        Ok(Some(rest))
    }
}

impl Open {
    fn content(&mut self, text: &[u8]) -> Result<(), PemProblem> {
        let text = text.trim_ascii();
        let first = self.base64.is_empty();
        match self.headers {
            Headers::None if first && text.contains(&b':') => self.headers = Headers::Now,
            Headers::Now if text.is_empty() => self.headers = Headers::Over,
            Headers::Now => {}
            Headers::None | Headers::Over => {
                let is_base64 = |byte: &u8| byte.is_ascii_whitespace() || is_base64(*byte);
                if !text.iter().all(is_base64) {
                    return Err(PemProblem::NotBase64);
                }
                self.append(text);
            }
        }
        Ok(())
    }

    /// Appends without leaving a copy of the content in memory that was given back.
    fn append(&mut self, text: &[u8]) {
        if self.base64.capacity() - self.base64.len() < text.len() {
            let room = (self.base64.capacity() * 2).max(self.base64.len() + text.len());
            let mut larger = Vec::with_capacity(room.max(4096));
            larger.extend_from_slice(&self.base64);
            self.base64.zeroize();
            *self.base64 = larger;
        }
        let content = text.iter().filter(|byte| !byte.is_ascii_whitespace());
        self.base64.extend(content);
    }

    fn close(self) -> Result<Section, PemError> {
        if self.base64.is_empty() {
            return Err(at(self.line, PemProblem::EmptySection));
        }
        let mut der = Zeroizing::new(Vec::with_capacity(self.base64.len() / 4 * 3 + 3));
        STANDARD
            .decode_vec(&*self.base64, &mut der)
            .map_err(|_| at(self.line, PemProblem::Base64Length))?;
        Ok(Section {
            label: self.label,
            der,
            line: self.line,
            has_headers: self.headers != Headers::None,
        })
    }
}

/// The label at the beginning, and what is after its dashes.
fn label(text: &[u8]) -> Option<(String, &[u8])> {
    let end = find(text, DASHES)?;
    let label = str::from_utf8(&text[..end]).ok()?.trim();
    let printable = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    if label.is_empty() || label.len() > 64 || !label.bytes().all(printable) {
        return None;
    }
    Some((label.to_owned(), &text[end + DASHES.len()..]))
}

/// Refuses text in which a section may be lost.
fn check_text(text: &[u8]) -> Result<(), PemProblem> {
    let of_text = |byte: u8| byte >= b' ' || matches!(byte, b'\t' | b'\x0b' | b'\x0c' | b'\x1b');
    if !text.iter().copied().all(of_text) {
        return Err(PemProblem::Binary);
    }
    if find(text, END).is_some() {
        return Err(PemProblem::NoBegin);
    }
    let trimmed = text.trim_ascii();
    if trimmed.len() >= 48
        && trimmed.starts_with(LONG_SEQUENCE)
        && trimmed.iter().copied().all(is_base64)
    {
        return Err(PemProblem::Unmarked);
    }
    if is_marker_without_label(trimmed)
        || text.contains(&b'-') && is_nearly_a_marker(&text.to_ascii_uppercase())
    {
        return Err(PemProblem::Marker);
    }
    Ok(())
}

/// Whether a file's last line, which nothing ends, is the dashes of a BEGIN whose rest is cut off. With an end
/// they are an operator's ornament.
fn is_begun(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    !line.is_empty() && DASHES.starts_with(line)
}

/// Whether the text is the dashes of a BEGIN or an END and no more than that word.
fn is_marker_without_label(trimmed: &[u8]) -> bool {
    let mut markers = [BEGIN, END].into_iter();
    trimmed.len() > DASHES.len() && markers.any(|marker| marker.starts_with(trimmed))
}

/// Whether a dash, BEGIN or END and a known label follow each other. Other rules of dashes are an
/// operator's ornament.
fn is_nearly_a_marker(text: &[u8]) -> bool {
    ["BEGIN", "END"].iter().any(|word| {
        let mut rest = text;
        while let Some(place) = find(rest, word.as_bytes()) {
            let after = rest[place + word.len()..].trim_ascii_start();
            let is_label = KNOWN
                .iter()
                .any(|label| after.starts_with(label.as_bytes()));
            if rest[..place].trim_ascii_end().ends_with(b"-") && is_label {
                return true;
            }
            rest = &rest[place + word.len()..];
        }
        false
    })
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    let first = what.first()?;
    let mut from = 0;
    while let Some(place) = text[from..].iter().position(|byte| byte == first) {
        let place = from + place;
        if text[place..].starts_with(what) {
            return Some(place);
        }
        from = place + 1;
    }
    None
}

fn at(line: usize, problem: PemProblem) -> PemError {
    PemError { line, problem }
}

/// The lines of a text, each ended by LF, CRLF or CR.
struct Lines<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let text = self.0?;
        let end = text.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let Some(end) = end else {
            self.0 = None;
            return Some(text);
        };
        let ending = if text[end..].starts_with(b"\r\n") {
            2
        } else {
            1
        };
        self.0 = Some(&text[end + ending..]);
        Some(&text[..end])
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Vec<(String, Vec<u8>, usize)> {
        let sections = sections(text.as_bytes()).unwrap();
        let parts = sections.into_iter();
        parts
            .map(|one| (one.label, one.der.to_vec(), one.line))
            .collect()
    }

    fn problem(text: &[u8]) -> (usize, PemProblem) {
        let error = sections(text).unwrap_err();
        (error.line, error.problem)
    }

    #[test]
    fn what_other_programs_write_is_read() {
        let one = || vec![("X".to_owned(), vec![0, 0, 0], 1)];
        for text in [
            "-----BEGIN X-----\nAAAA\n-----END X-----\n",
            "-----BEGIN X-----\r\nAAAA\r\n-----END X-----\r\n",
            "-----BEGIN X-----\rAAAA\r-----END X-----\r",
            "\u{feff}-----BEGIN X-----\nAAAA\n-----END X-----",
            "  -----BEGIN X-----  \n\n AA AA\t\n\n  -----END X-----  ",
            "-----BEGIN X----- AAAA -----END X-----",
            "-----BEGIN X-----AAAA-----END X----- text after it",
            "text before it-----BEGIN X-----\nAAAA-----END X-----",
        ] {
            assert_eq!(read(text), one(), "{text:?}");
        }
        let two = "Certificate:\n  Data: - END -\n-----BEGIN X-----\nAAAA\n-----END X----------BEGIN Y-----\n\
                   AAAA\n-----END Y-----\n# ---- BEGIN our own ----\n-----\n";
        let labels: Vec<_> = read(two)
            .into_iter()
            .map(|(l, _, line)| (l, line))
            .collect();
        assert_eq!(labels, [("X".to_owned(), 3), ("Y".to_owned(), 5)]);
        assert_eq!(read(""), []);
        assert_eq!(read("nothing\nat all"), []);
    }

    #[test]
    fn the_headers_of_an_encrypted_key_are_read_as_such() {
        let text = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n\
                    AAAA\n-----END RSA PRIVATE KEY-----\n";
        let [section] = sections(text.as_bytes()).unwrap().try_into().unwrap();
        assert!(section.has_headers);
        assert_eq!(*section.der, [0, 0, 0]);
    }

    #[test]
    fn what_would_be_lost_is_an_error_with_its_line() {
        use PemProblem as P;
        let long = format!("a\n{}\n", "MIIC".repeat(16));
        for (text, expected) in [
            ("a\n-----BEGIN X-----\nAAAA\n", (2, P::NoEnd)),
            (
                "-----BEGIN X-----\nAAAA\n-----BEGIN X-----\n",
                (1, P::NoEnd),
            ),
            ("-----BEGIN X-----\nAAAA\n-----END Y-----", (3, P::OtherEnd)),
            ("-----BEGIN X-----\nAAAA\n-----END X----", (3, P::Marker)),
            ("-----BEGIN X-----\nAAAA\n------END X-----", (3, P::Marker)),
            ("AAAA\n-----END X-----", (2, P::NoBegin)),
            ("-----BEGIN X----\nAAAA", (1, P::Marker)),
            ("-----BEGIN -----\nAAAA", (1, P::Marker)),
            ("----BEGIN CERTIFICATE-----\nAAAA", (1, P::Marker)),
            ("-----begin certificate-----\nAAAA", (1, P::Marker)),
            ("a\n-----BEGIN\n", (2, P::Marker)),
            ("a\n-----BEG", (2, P::Marker)),
            ("-----END\na", (1, P::Marker)),
            ("-----BEGIN X-----AAAA-----END X----------B", (1, P::Marker)),
            ("a\n---", (2, P::Marker)),
            ("-----BEGIN X-----\nAAAA\n-----END X", (3, P::Marker)),
            ("-----BEGIN X-----\nAAAA\n---", (3, P::NotBase64)),
            (
                "-----BEGIN X-----\nAA*A\n-----END X-----",
                (2, P::NotBase64),
            ),
            (
                "-----BEGIN X-----\nAAA\n-----END X-----",
                (1, P::Base64Length),
            ),
            (
                "-----BEGIN X-----\nAA==AAAA\n-----END X-----",
                (1, P::Base64Length),
            ),
            ("-----BEGIN X-----\n-----END X-----", (1, P::EmptySection)),
            (
                "-----BEGIN X-----\na: b\n-----END X-----",
                (1, P::EmptySection),
            ),
            ("\n0\0\n", (2, P::Binary)),
            (long.as_str(), (2, P::Unmarked)),
        ] {
            assert_eq!(problem(text.as_bytes()), expected, "{text:?}");
        }
        assert_eq!(problem(b"\xff\xfe-\0"), (1, P::Utf16));
    }

    fn written(sections: &[(Vec<u8>, String)], ends: &str) -> String {
        let mut text = String::new();
        for (der, after) in sections {
            let base64 = STANDARD.encode(der);
            text.push_str("-----BEGIN X509 CRL-----");
            for line in base64.as_bytes().chunks(64) {
                text.push_str(ends);
                text.push_str(str::from_utf8(line).unwrap());
            }
            text.push_str(ends);
            text.push_str("-----END X509 CRL-----");
            text.push_str(after);
        }
        text
    }

    proptest! {
        #[test]
        fn no_section_is_ever_lost(
            given in vec((vec(any::<u8>(), 1..200), "(\n|\r\n|| |[ a-z:\n]{0,40})"), 0..6),
            ends in "(\n|\r\n|\r| )",
            mark in any::<bool>(),
        ) {
            let mark = if mark { "\u{feff}" } else { "" };
            let text = format!("{mark}{}", written(&given, &ends));
            let read = sections(text.as_bytes()).unwrap();
            prop_assert_eq!(read.len(), given.len());
            for (section, (der, _)) in read.iter().zip(&given) {
                prop_assert_eq!(&*section.der, der);
                let line = Lines(Some(text.as_bytes())).nth(section.line - 1).unwrap();
                prop_assert!(find(line, BEGIN).is_some());
            }
        }

        #[test]
        fn one_changed_byte_is_an_error_or_leaves_the_number_of_sections(
            given in vec((vec(any::<u8>(), 60..100), "\n"), 1..4),
            place in any::<proptest::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut text = written(&given, "\n").into_bytes();
            let place = place.index(text.len());
            text[place] = byte;
            if let Ok(read) = sections(&text) {
                prop_assert_eq!(read.len(), given.len());
            }
        }

        #[test]
        fn whatever_comes_nothing_panics(content in vec(any::<u8>(), 0..400)) {
            let _ = sections(&content);
        }

        #[test]
        fn whatever_is_made_of_markers_nothing_panics(
            parts in vec("(-----|BEGIN |END |X|\n|\r|:|AAAA|=| )", 0..30)
        ) {
            let _ = sections(parts.concat().as_bytes());
        }
    }
}
