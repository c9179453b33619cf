//! Before libFuzzer looks for them: the inputs and words that lead deep into a target.

use std::fs;
use std::path::PathBuf;

use super::targets::ALL;

pub fn begin(name: &str) {
    let Some(folder) = std::env::var_os("FUZZ_SEEDS").map(PathBuf::from) else {
        return;
    };
    let target = ALL.iter().find(|target| target.name == name).unwrap();
    for (number, seed) in target.seeds.iter().enumerate() {
        fs::write(folder.join(number.to_string()), seed).unwrap();
    }
    let quoted = |word: &&str| {
        let bytes = word.bytes().map(|byte| format!("\\x{byte:02x}"));
        format!("\"{}\"\n", bytes.collect::<String>())
    };
    let words: String = target.words.iter().map(quoted).collect();
    fs::write(folder.with_extension("dict"), words).unwrap();
}
