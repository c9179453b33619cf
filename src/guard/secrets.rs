//! Which files hold secrets and who may read them, and which decide who is let in and who may write them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

#[cfg(feature = "redis")]
use crate::config::LimitsSection;
use crate::config::{Config, Key, PolicyRules};

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

/// The files that decide which callers are let in, the configuration itself among them.
pub(super) fn deciding(config: &Config) -> Vec<(Key, PathBuf)> {
    let document = &config.document;
    let mut files = files(config);
    files.extend(
        document
            .file()
            .map(|file| (Key::default(), file.to_owned())),
    );
    let tls = config.tls.iter().flat_map(|tls| tls.files(document));
    files.extend(tls.filter(|(key, _)| key.name() == Some("client_ca")));
    files.extend(config.crl.iter().flat_map(|crl| crl.named(document)));
    if let Some(auth) = &config.auth {
        files.extend(auth.digest_files(document));
        files.extend(auth.key_files(document));
    }
    if let Some(policy) = &config.policy
        && let PolicyRules::File(file) = &policy.rules
    {
        files.push(("policy.file".into(), document.resolve(file)));
    }
    #[cfg(feature = "digest-binding")]
    {
        let policy = config.policy.as_ref();
        let binding = policy.and_then(|policy| policy.digest_binding.as_ref());
        let file = binding.and_then(|binding| binding.file.as_ref());
        let key = Key::from("policy.digest_binding.file");
        files.extend(file.map(|file| (key, document.resolve(file))));
    }
    if let Some(deny) = &config.deny {
        let named = deny.files.iter().enumerate();
        let key = Key::from("deny.files");
        files.extend(named.map(|(index, file)| (key.clone().at(index), document.resolve(file))));
    }
    files
}

/// What everybody on the machine may write of a file or folder: itself, or a folder on the way to it, in which
/// another may be put in its place.
pub(super) fn everybody_writes(path: &Path) -> Option<(PathBuf, u32)> {
    let path = fs::canonicalize(path).ok()?;
    let mode = |path: &Path| Some(fs::metadata(path).ok()?.mode() & 0o7777);
    let reachable = |path: &Path| {
        let mut folders = path.ancestors().skip(1);
        folders.all(|folder| mode(folder).is_some_and(|mode| mode & 0o001 != 0))
    };
    path.ancestors().enumerate().find_map(|(steps, at)| {
        let mode = mode(at)?;
        // The sticky bit keeps other users from replacing a file of the folder, but not from adding one to a
        // folder that is read as a whole.
        let open = mode & 0o002 != 0 && (steps == 0 || mode & 0o1000 == 0);
        (open && reachable(at) && !is_read_only(at)).then(|| (at.to_owned(), mode))
    })
}

/// What a group may write of a file or folder that has none of the process' own groups: its permission bits and the
/// group. The volumes of Kubernetes have the pod's `fsGroup`, which is one of its processes'.
pub(super) fn group_writes(path: &Path, own: &[u32]) -> Option<(u32, u32)> {
    let path = fs::canonicalize(path).ok()?;
    let metadata = fs::metadata(&path).ok()?;
    let (mode, group) = (metadata.mode() & 0o7777, metadata.gid());
    let enters = |folder: &Path| {
        let folder = fs::metadata(folder).ok()?;
        let by_group = folder.gid() == group && folder.mode() & 0o010 != 0;
        Some(by_group || folder.mode() & 0o001 != 0)
    };
    let mut folders = path.ancestors().skip(1);
    let reachable = folders.all(|folder| enters(folder) == Some(true));
    let others = mode & 0o020 != 0 && !own.contains(&group);
    (others && reachable && !is_read_only(&path)).then_some((mode, group))
}

/// The groups of this process.
pub(super) fn own_groups() -> Vec<u32> {
    let mut groups = rustix::process::getgroups().unwrap_or_default();
    groups.push(rustix::process::getegid());
    groups
        .into_iter()
        .map(rustix::process::Gid::as_raw)
        .collect()
}

/// Whether its file system is mounted read-only, as the volumes of a `ConfigMap` are, whose folders have mode 777.
fn is_read_only(path: &Path) -> bool {
    use rustix::fs::{StatVfsMountFlags, statvfs};

    statvfs(path).is_ok_and(|of| of.f_flag.contains(StatVfsMountFlags::RDONLY))
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

    #[test]
    fn a_file_is_written_by_a_group_if_that_is_not_the_process_own_and_can_reach_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deny");
        fs::write(&file, "# none\n").unwrap();
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let group = fs::metadata(&file).unwrap().gid();
        for (around, mode, own, found) in [
            (0o755, 0o664, &[][..], Some((0o664, group))),
            (0o750, 0o660, &[], Some((0o660, group))),
            (0o755, 0o664, &[group], None),
            (0o755, 0o644, &[], None),
            (0o700, 0o664, &[], None),
        ] {
            set(folder.path(), around);
            set(&file, mode);
            assert_eq!(group_writes(&file, own), found, "{around:o} {mode:o}");
        }
        assert!(own_groups().contains(&group));
    }

    #[test]
    fn a_file_is_written_by_everybody_if_it_or_a_folder_on_the_way_to_it_is() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("folder");
        fs::create_dir(&folder).unwrap();
        let file = folder.join("ca.crt");
        fs::write(&file, "ca").unwrap();
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let canonical = |path: &Path| fs::canonicalize(path).unwrap();
        for (outermost, around, mode, found) in [
            (0o755, 0o755, 0o644, None),
            (0o755, 0o755, 0o666, Some((&file, 0o666))),
            (0o755, 0o777, 0o644, Some((&folder, 0o777))),
            (0o755, 0o1777, 0o644, None),
            (0o755, 0o770, 0o666, None),
            (0o700, 0o777, 0o666, None),
        ] {
            set(outer.path(), outermost);
            set(&folder, around);
            set(&file, mode);
            let found = found.map(|(path, mode)| (canonical(path), mode));
            assert_eq!(
                everybody_writes(&file),
                found,
                "{outermost:o} {around:o} {mode:o}"
            );
        }
        set(outer.path(), 0o755);
        set(&folder, 0o1777);
        assert_eq!(
            everybody_writes(&folder),
            Some((canonical(&folder), 0o1777))
        );
    }
}
