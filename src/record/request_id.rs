use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::util::hex;

/// Where a request's id is looked for and where it is returned.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const LONGEST: usize = 128;

/// The client's id if there is exactly one and it can stand in a log line, else a made one.
pub(crate) fn of(headers: &HeaderMap) -> HeaderValue {
    let mut sent = headers.get_all(REQUEST_ID).iter();
    match (sent.next(), sent.next()) {
        (Some(id), None) if is_well_formed(id.as_bytes()) => id.clone(),
        _ => made(),
    }
}

fn is_well_formed(id: &[u8]) -> bool {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:=+/".contains(byte);
    (1..=LONGEST).contains(&id.len()) && id.iter().all(fits)
}

fn made() -> HeaderValue {
    // Distinguishes the processes of a fleet; it need not be unguessable.
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one("request id"));
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut id = [b'-'; 33];
    hex::write(&PROCESS.to_be_bytes(), &mut id[..16]);
    hex::write(&number.to_be_bytes(), &mut id[17..]);
    // Hexadecimal digits and a hyphen are always a header's value.
    HeaderValue::from_bytes(&id).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn sent(ids: &[&'static str]) -> HeaderMap {
        ids.iter()
            .map(|id| (REQUEST_ID, HeaderValue::from_static(id)))
            .collect()
    }

    #[test]
    fn a_well_formed_id_is_kept() {
        assert_eq!(
            of(&sent(&["Root=1-67891233-abcdef"])),
            "Root=1-67891233-abcdef"
        );
    }

    #[test]
    fn any_other_id_is_replaced() {
        let long: &'static str = Box::leak("a".repeat(LONGEST + 1).into());
        for ids in [&[][..], &[""], &["a b"], &["a\"b"], &["a", "b"], &[long]] {
            let id = of(&sent(ids));
            assert_eq!(id.len(), 33, "{ids:?}");
        }
    }

    #[test]
    fn made_ids_differ() {
        let ids: HashSet<_> = (0..100).map(|_| made()).collect();
        assert_eq!(ids.len(), 100);
    }
}
