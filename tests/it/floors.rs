//! The folders of the library stand on floors: what a folder imports from stands below it or beside it, as
//! docs/architecture.md draws it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// From the top. Folders of one floor may not import from each other.
const FLOORS: [&[&str]; 14] = [
    &["serve"],
    &["guard"],
    &["config"],
    &["auth", "policy", "tls"],
    &["crl", "rate", "source"],
    &["access_log", "admin", "client_warning"],
    &["middleware"],
    &["responder"],
    &["record", "document"],
    &["reload", "connection"],
    &["telemetry"],
    &["identity", "refusal", "fetch"],
    &["oci", "crypto"],
    &["util"],
];

/// What the crate's root names besides, and where it stands.
const RE_EXPORTS: [(&str, &str); 11] = [
    ("Body", "middleware"),
    ("BodyError", "middleware"),
    ("ClientAddr", "connection"),
    ("Connection", "connection"),
    ("Guard", "guard"),
    ("PeerIdentity", "identity"),
    ("Preset", "refusal"),
    ("Principal", "identity"),
    ("Refusal", "refusal"),
    ("Responder", "responder"),
    ("Watched", "reload"),
];

fn floor(folder: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&folder))
}

#[test]
fn no_folder_imports_from_a_higher_floor() {
    let mut arrows = BTreeMap::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in fs::read_dir(&source).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let folder = path.file_name().unwrap().to_str().unwrap().to_owned();
            assert!(floor(&folder).is_some(), "src/{folder} stands on no floor");
            collect(&path, &folder, &mut arrows);
        }
    }
    assert!(arrows.len() > 50, "{arrows:?}");

    for ((from, to), file) in &arrows {
        assert!(
            floor(from) < floor(to),
            "{from} must not import from {to}: {file}"
        );
    }
}

/// The folders that the files of one import from, with a file that does.
fn collect(folder: &Path, from: &str, arrows: &mut BTreeMap<(String, String), String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, from, arrows);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            for to in imported(code).filter(|to| to != from && floor(to).is_some()) {
                arrows.insert((from.to_owned(), to), path.display().to_string());
            }
        }
    }
}

/// What stands behind `crate::` in code, one name or several in braces.
fn imported(code: &str) -> impl Iterator<Item = String> {
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let code: String = lines.flat_map(|line| [line, "\n"]).collect();
    let mut names = Vec::new();
    for after in code.split("crate::").skip(1) {
        let list = match after.strip_prefix('{') {
            Some(list) => list.split("};").next().unwrap(),
            None => after.split([';', '\n']).next().unwrap(),
        };
        let items: Vec<_> = if after.starts_with('{') {
            top_level(list)
        } else {
            vec![list]
        };
        for item in items {
            let name: String = item
                .trim()
                .chars()
                .take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_')
                .collect();
            let exported = RE_EXPORTS.iter().find(|(exported, _)| *exported == name);
            names.push(exported.map_or(name, |(_, folder)| (*folder).to_owned()));
        }
    }
    names.into_iter()
}

/// The items of a list between its outermost commas.
fn top_level(list: &str) -> Vec<&str> {
    let (mut depth, mut begun, mut items) = (0_usize, 0, Vec::new());
    for (at, letter) in list.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                items.push(&list[begun..at]);
                begun = at + 1;
            }
            _ => {}
        }
    }
    items.push(&list[begun..]);
    items
}
