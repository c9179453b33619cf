//! Which files hold secrets, and who may read them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

#[cfg(feature = "redis")]
use crate::config::LimitsSection;
use crate::config::{Config, Key};

/// The files with keys and tokens in the clear that a configuration names.
pub(super) fn files(config: &Config) -> Vec<(Key, PathBuf)> {
    let document = &config.document;
    let mut files = Vec::new();
    if let Some(tls) = &config.tls {
        let named = tls.files(document).into_iter();
        files.extend(named.filter(|(key, _)| matches!(key.name(), Some("key" | "bundle"))));
    }
    if let Some(auth) = &config.auth {
        files.extend(auth.secret_files(document));
    }
    #[cfg(feature = "redis")]
    if let Some(fleet) = config.limits.as_ref().and_then(LimitsSection::fleet) {
        files.extend(fleet.file(document).map(|file| (fleet.key(), file)));
    }
    files
}

/// The mode of a file that everybody on the machine may read: its own, not that of a link to it, and only where
/// nothing on the way to it keeps others out.
pub(super) fn everybodys(file: &Path) -> Option<u32> {
    let file = fs::canonicalize(file).ok()?;
    let mode = |path: &Path| Some(fs::metadata(path).ok()?.mode() & 0o777);
    let own = mode(&file)?;
    let mut folders = file.ancestors().skip(1);
    let reachable = folders.all(|folder| mode(folder).is_some_and(|mode| mode & 0o001 != 0));
    (own & 0o004 != 0 && reachable).then_some(own)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_everybodys_if_it_and_all_folders_on_the_way_to_it_are() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        let link = folder.path().join("link");
        fs::write(&file, "secret").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        for (around, mode, found) in [
            (0o755, 0o644, Some(0o644)),
            (0o755, 0o604, Some(0o604)),
            (0o755, 0o640, None),
            (0o755, 0o600, None),
            (0o700, 0o644, None),
        ] {
            set(folder.path(), around);
            set(&file, mode);
            assert_eq!(everybodys(&file), found, "{around:o} {mode:o}");
            // A link's own mode is 777 and says nothing.
            assert_eq!(everybodys(&link), found, "{around:o} {mode:o}");
        }
    }
}
