//! The folders of the library stand on floors: what a folder imports from stands below it or beside it, as
//! docs/architecture.md draws it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use regex::Regex;

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

/// How many structs and enums each folder shows. docs/architecture.md says why they are shown; one more needs such
/// a reason.
const SHOWN: [(&str, usize); 22] = [
    ("access_log", 4),
    ("admin", 3),
    ("auth", 13),
    ("client_warning", 1),
    ("config", 2),
    ("connection", 5),
    ("crl", 19),
    ("document", 2),
    ("guard", 5),
    ("identity", 7),
    ("middleware", 8),
    ("oci", 5),
    ("policy", 13),
    ("rate", 12),
    ("record", 3),
    ("refusal", 2),
    ("reload", 5),
    ("responder", 3),
    ("serve", 5),
    ("source", 4),
    ("telemetry", 1),
    ("tls", 18),
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

#[test]
fn each_folder_shows_no_more_types_than_are_listed() {
    // Clippy's `unreachable_pub` holds that what is `pub` is shown.
    let shown = Regex::new(r"(?m)^\s*pub (?:struct|enum|union) ").unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut texts = BTreeMap::new();
    modules(&source, &[], &mut texts);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (module, text) in &texts {
        let types = shown.find_iter(text).count();
        if let Some(folder) = module.first().filter(|_| types > 0) {
            *counts.entry(folder).or_default() += types;
        }
    }
    assert_eq!(counts, BTreeMap::from(SHOWN));
}

/// The path of a module below the crate's root.
type Module = Vec<String>;

#[test]
fn no_file_imports_from_itself_by_way_of_others() {
    let files = Files::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let reachable: BTreeMap<_, _> = files
        .imports
        .keys()
        .map(|from| (from, files.reachable(from)))
        .collect();
    let circles: BTreeSet<Vec<String>> = reachable
        .iter()
        .filter(|(from, to)| to.contains(**from))
        .map(|(from, to)| {
            let circle = to.iter().filter(|to| reachable[*to].contains(*from));
            circle.map(|module| module.join("::")).collect()
        })
        .collect();
    assert!(files.imports.len() > 300, "{}", files.imports.len());
    // RFC 5280 §6.3.3 (f) is recursive by nature.
    let known = ["crl::rules", "crl::signers"].map(str::to_owned);
    assert_eq!(circles, BTreeSet::from([known.to_vec()]));
}

/// What the files of the library import.
#[derive(Default)]
struct Files {
    imports: BTreeMap<Module, Vec<Module>>,
    /// What the name that a module exports stands for.
    exports: BTreeMap<(Module, String), Module>,
}

impl Files {
    fn read(source: &Path) -> Self {
        let mut texts = BTreeMap::new();
        modules(source, &[], &mut texts);
        let line = Regex::new(r"(?m)^\s*(pub(?:\([^)]*\))?\s+)?use\s+([^;]+);").unwrap();
        let inline = Regex::new(r"\b(?:crate|super)(?:::\w+)+").unwrap();
        let mut files = Self::default();
        for (module, text) in &texts {
            let mut imports = Vec::new();
            for found in line.captures_iter(text) {
                let mut paths = Vec::new();
                expand(&found[2], &[], &mut paths);
                for path in paths {
                    let child = [&module[..], &path[..1]].concat();
                    let Some(path) = absolute(module, &path, texts.contains_key(&child)) else {
                        continue;
                    };
                    if found.get(1).is_some() {
                        let name = path.last().unwrap().clone();
                        files.exports.insert((module.clone(), name), path);
                    } else {
                        imports.push(path);
                    }
                }
            }
            imports.extend(inline.find_iter(text).filter_map(|found| {
                let path: Module = found.as_str().split("::").map(str::to_owned).collect();
                absolute(module, &path, false)
            }));
            files.imports.insert(module.clone(), imports);
        }
        files
    }

    /// The file that a path leads to.
    fn of<'a>(&'a self, path: &'a [String], depth: usize) -> Option<&'a Module> {
        let mut longest = (0..=path.len()).rev();
        let (module, _) = longest.find_map(|length| self.imports.get_key_value(&path[..length]))?;
        let name = path.get(module.len());
        let exported = name.and_then(|name| self.exports.get(&(module.clone(), name.clone())));
        match exported.filter(|_| depth < 8) {
            Some(exported) => self.of(exported, depth + 1),
            None => Some(module),
        }
    }

    fn reachable<'a>(&'a self, from: &'a Module) -> BTreeSet<&'a Module> {
        let mut reached = BTreeSet::new();
        let mut left = vec![from];
        while let Some(next) = left.pop() {
            let to = self.imports[next]
                .iter()
                .filter_map(|path| self.of(path, 0));
            left.extend(to.filter(|to| *to != next && reached.insert(*to)));
        }
        reached
    }
}

/// The code of each module, without comments and tests.
fn modules(folder: &Path, above: &[String], texts: &mut BTreeMap<Module, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let below = [above, std::slice::from_ref(&name)].concat();
        if path.is_dir() {
            modules(&path, &below, texts);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            let is_folder = name == "mod" || name == "lib";
            let module = if is_folder { above.to_vec() } else { below };
            texts.insert(module, without_comments(code));
        }
    }
}

/// The paths of an import, of which one may have others in braces.
fn expand(tree: &str, before: &[String], paths: &mut Vec<Module>) {
    let tree = tree.trim();
    let (path, list) = match tree.split_once('{') {
        Some((path, list)) => (path, list.trim_end().strip_suffix('}')),
        None => (tree, None),
    };
    let names = path
        .split("::")
        .map(|name| name.split(" as ").next().unwrap().trim());
    let names = names.filter(|name| !name.is_empty() && *name != "self");
    let path: Module = before
        .iter()
        .cloned()
        .chain(names.map(str::to_owned))
        .collect();
    match list {
        Some(list) => {
            for item in top_level(list)
                .into_iter()
                .filter(|item| !item.trim().is_empty())
            {
                expand(item, &path, paths);
            }
        }
        None => paths.push(path),
    }
}

/// The path from the crate's root of one that a module has; `None` of another crate.
fn absolute(module: &[String], path: &[String], is_child: bool) -> Option<Module> {
    let supers = path.iter().take_while(|name| *name == "super").count();
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "super" => {
            let above = &module[..module.len().checked_sub(supers)?];
            Some([above, &path[supers..]].concat())
        }
        _ => is_child.then(|| [module, path].concat()),
    }
}

fn without_comments(code: &str) -> String {
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| [line, "\n"]).collect()
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
    let code = without_comments(code);
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
