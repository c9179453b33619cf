use std::collections::HashMap;
use std::path::Path;

use super::Credential;
use super::digest::{DigestError, HashKind, SecretDigest};
use crate::util::text::{is_blank, unmarked};

/// What is wrong with a line of an htpasswd file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HtpasswdError {
    /// No colon.
    #[error("a line is \"user:hash\"")]
    NoColon,
    /// Not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// The user's name is empty or has a control character, which no Basic user can have.
    #[error("a user's name is not empty and has no control characters")]
    User,
    /// The user is there already.
    #[error("the user is at line {first} already: take one of the two lines out")]
    SameUser {
        /// The line of the first.
        first: usize,
    },
    /// The hash cannot be used.
    #[error("{0}")]
    Digest(DigestError),
    /// It is no hash of a password.
    #[error(
        "only hashes of bcrypt and Argon2id are accepted: make them with `htpasswd -B` or `portcullisctl hash`"
    )]
    NoHash,
}

/// The users of an htpasswd file as distribution and zot read it, and with hashes of Argon2id: `user:hash` a line,
/// empty lines and those that begin with `#` left out. The error comes with its line, from 1.
pub(super) fn read(file: &[u8]) -> Result<Vec<Credential>, (usize, HtpasswdError)> {
    let mut credentials: Vec<Credential> = Vec::new();
    let mut lines = HashMap::new();
    for (line, text) in (1..).zip(unmarked(file).split(|&byte| byte == b'\n')) {
        let text = str::from_utf8(text).map_err(|_| (line, HtpasswdError::NotUtf8))?;
        let text = text.trim();
        if !text.is_empty() && !text.starts_with('#') {
            let credential = entry(text).map_err(|problem| (line, problem))?;
            if let Some(first) = lines.insert(credential.id.clone(), line) {
                return Err((line, HtpasswdError::SameUser { first }));
            }
            credentials.push(credential);
        }
    }
    Ok(credentials)
}

fn entry(line: &str) -> Result<Credential, HtpasswdError> {
    let (user, hash) = line.split_once(':').ok_or(HtpasswdError::NoColon)?;
    if user.is_empty() || user.contains(char::is_control) {
        return Err(HtpasswdError::User);
    }
    let digest = SecretDigest::read(hash).map_err(|error| match error {
        DigestError::Unknown => HtpasswdError::NoHash,
        error => HtpasswdError::Digest(error),
    })?;
    match &digest.0 {
        HashKind::Slow(_) => Ok(Credential::new(user).with_secret(digest)),
        HashKind::Sha256(_) => Err(HtpasswdError::NoHash),
    }
}

/// Says so where a file with users or credentials is empty: they are all withdrawn, or it was cut off.
pub(super) fn warn_if_blank(file: &Path, text: &[u8]) {
    if is_blank(text) {
        tracing::warn!(file = %file.display(), "the file is empty, so that it lets no caller in");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2y$05$L6Bc/AlTQHyd9liGgGEZyOFLPHNgyxeEPfgYfBCVxJ7JIlwxyVU3u";

    #[test]
    fn users_are_read_and_comments_left_out() {
        let file = format!("# users\n\nalice:{HASH}\r\n  bob:{HASH}\n");
        let users = read(file.as_bytes()).unwrap();
        let ids: Vec<&str> = users.iter().map(|user| &*user.id).collect();
        assert_eq!(ids, ["alice", "bob"]);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_user() {
        let file = format!("\u{feff}alice:{HASH}");
        let users = read(file.as_bytes()).unwrap();
        assert_eq!(&*users[0].id, "alice");
    }

    #[test]
    fn a_hash_of_argon2id_is_taken() {
        let hash = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzYWx0$LE3v3zvRjRmB2HhQYGUyBHb4gdKzxIAu5U6uJ2y2T2A";
        let users = read(format!("bob:{HASH}\nalice:{hash}\n").as_bytes()).unwrap();
        assert_eq!(users.len(), 2);
    }

    #[test]
    fn a_line_without_the_hash_of_a_password_is_an_error_with_its_place() {
        for (line, problem) in [
            ("alice", HtpasswdError::NoColon),
            ("alice:", HtpasswdError::NoHash),
            ("alice:plain", HtpasswdError::NoHash),
            (
                "alice:sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                HtpasswdError::NoHash,
            ),
            (
                "alice:$apr1$a$b",
                HtpasswdError::Digest(DigestError::Refused("MD5 (apr1)")),
            ),
            (
                "alice:{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=",
                HtpasswdError::Digest(DigestError::Refused("SHA-1")),
            ),
        ] {
            let file = format!("bob:{HASH}\n{line}\n");
            assert_eq!(read(file.as_bytes()).unwrap_err(), (2, problem), "{line}");
        }
        assert_eq!(read(b"\xff").unwrap_err(), (1, HtpasswdError::NotUtf8));
        for user in ["", "a\u{7}"] {
            let file = format!("# users\n{user}:{HASH}\n");
            assert_eq!(read(file.as_bytes()).unwrap_err(), (2, HtpasswdError::User));
        }
        let file = format!("bob:{HASH}\n\nalice:{HASH}\nbob:{HASH}\n");
        let twice = HtpasswdError::SameUser { first: 1 };
        assert_eq!(read(file.as_bytes()).unwrap_err(), (4, twice));
    }
}
