//! What serde says of a value, in an operator's words.

/// Says what is wrong with `value`, as it is written in the file, of which serde says `message`.
pub(super) fn plain(message: &str, value: &str) -> String {
    let mismatch = message.strip_prefix("invalid type: ");
    let mismatch = mismatch.or_else(|| message.strip_prefix("invalid value: "));
    if let Some((found, expected)) = mismatch.and_then(|rest| rest.split_once(", expected ")) {
        return expectation(found, expected, value);
    }
    if let Some(choice) = message.strip_prefix("unknown variant ") {
        return among(choice);
    }
    if message.starts_with("invalid length ") && message.contains(", expected struct ") {
        return "a table is expected, not a list".to_owned();
    }
    let told = match message {
        "invalid IP address syntax" => {
            "a network is written like \"10.0.0.0/8\" or \"2001:db8::/32\""
        }
        "invalid socket address syntax" => {
            "an address is written like \"127.0.0.1:9443\" or \"[::1]:9443\""
        }
        "invalid HTTP header name" => "the name of a header has letters, digits and hyphens",
        "duplicate key" => "it is in its table twice: take one out",
        "wanted string or table" => "a text in quotes, or a table, is expected",
        "wanted string" | "variant identifier is expected" => "a text in quotes is expected",
        _ => message,
    };
    told.to_owned()
}

/// What may be written, and that `choice` is something else.
fn among(choice: &str) -> String {
    let Some((written, known)) = choice.split_once(", expected ") else {
        return format!("{} is not known here", choice.replace('`', "\""));
    };
    let [written, known] = [written, known].map(|text| text.replace('`', "\""));
    format!("{known} is expected, not {written}")
}

fn expectation(found: &str, expected: &str, value: &str) -> String {
    let is_text = found.starts_with("string ");
    let is_number = found.starts_with("integer ") || found.starts_with("floating point ");
    let one = is_text || is_number || found.starts_with("boolean ");
    let whole = ["u8", "u16", "u32", "u64", "usize", "i64"];
    let (expected, hint) = match expected {
        "a sequence" if one => ("a list".to_owned(), format!(": write it as [{value}]")),
        "a sequence" => (
            "a list".to_owned(),
            ": write it in brackets, as [\"…\"]".to_owned(),
        ),
        "a string" | "path string" | "a borrowed string" if one => (
            "a text".to_owned(),
            format!(": write it in quotes, as \"{value}\""),
        ),
        "a string" | "path string" | "a borrowed string" => {
            ("one text".to_owned(), ": write it in quotes".to_owned())
        }
        "a boolean" => ("true or false".to_owned(), ", without quotes".to_owned()),
        "a map" => ("a table".to_owned(), String::new()),
        "socket address" => (
            "an address".to_owned(),
            ": write it like \"127.0.0.1:9443\"".to_owned(),
        ),
        _ if expected.starts_with("struct ") || expected.starts_with("internally tagged enum ") => {
            ("a table".to_owned(), String::new())
        }
        _ => {
            let nonzero = expected.strip_prefix("a nonzero ");
            let kind = nonzero.unwrap_or(expected);
            if whole.contains(&kind) {
                let least = u8::from(nonzero.is_some());
                let most = match kind {
                    "u8" => " to 255".to_owned(),
                    "u16" => format!(" to {}", u16::MAX),
                    "u32" => format!(" to {}", u32::MAX),
                    _ => String::new(),
                };
                let quoted = if is_text { ", without quotes" } else { "" };
                (
                    format!("a whole number from {least}{most}"),
                    quoted.to_owned(),
                )
            } else {
                (expected.to_owned(), String::new())
            }
        }
    };
    format!("{expected} is expected, not {}{hint}", named(found))
}

/// What was found, by TOML's names.
fn named(found: &str) -> String {
    match found {
        "sequence" => "a list".to_owned(),
        "map" => "a table".to_owned(),
        _ => match found.split_once(' ') {
            Some(("string", text)) => format!("the text {text}"),
            Some(("integer", number)) => format!("the number {}", number.trim_matches('`')),
            Some(("boolean", value)) => value.trim_matches('`').to_owned(),
            _ => found.replace('`', ""),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn what_serde_says_is_told_in_an_operators_words() {
        for (message, value, told) in [
            (
                "invalid type: string \"ca.crt\", expected a sequence",
                "\"ca.crt\"",
                "a list is expected, not the text \"ca.crt\": write it as [\"ca.crt\"]",
            ),
            (
                "invalid type: integer `5`, expected a string",
                "5",
                "a text is expected, not the number 5: write it in quotes, as \"5\"",
            ),
            (
                "invalid type: string \"yes\", expected a boolean",
                "\"yes\"",
                "true or false is expected, not the text \"yes\", without quotes",
            ),
            (
                "invalid value: integer `300`, expected u8",
                "300",
                "a whole number from 0 to 255 is expected, not the number 300",
            ),
            (
                "invalid value: integer `0`, expected a nonzero u32",
                "0",
                "a whole number from 1 to 4294967295 is expected, not the number 0",
            ),
            (
                "invalid type: boolean `true`, expected struct TlsSection",
                "true",
                "a table is expected, not true",
            ),
            (
                "invalid IP address syntax",
                "\"10\"",
                "a network is written like \"10.0.0.0/8\" or \"2001:db8::/32\"",
            ),
            (
                "unknown variant `some`, expected one of `none`, `all`",
                "\"some\"",
                "one of \"none\", \"all\" is expected, not \"some\"",
            ),
            (
                "unknown variant `x`, expected `strict`",
                "\"x\"",
                "\"strict\" is expected, not \"x\"",
            ),
            (
                "invalid length 0, expected struct LimitEntry with 14 elements",
                "[]",
                "a table is expected, not a list",
            ),
            (
                "invalid type: integer `5`, expected socket address",
                "5",
                "an address is expected, not the number 5: write it like \"127.0.0.1:9443\"",
            ),
            (
                "wanted string or table",
                "5",
                "a text in quotes, or a table, is expected",
            ),
            ("missing field `key`", "", "missing field `key`"),
            ("something else", "", "something else"),
        ] {
            assert_eq!(plain(message, value), told);
        }
    }
}
