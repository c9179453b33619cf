//! A Secret as Kubernetes mounts it: each file is a link through `..data`, which is a link to the
//! folder with the present values, so that one rename replaces them all.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Lays a folder of plain files out like that.
pub fn mount(folder: &Path) {
    let values = folder.join("..first");
    fs::create_dir(&values).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if !entry.file_type().unwrap().is_file() {
            continue;
        }
        fs::rename(entry.path(), values.join(entry.file_name())).unwrap();
        symlink(Path::new("..data").join(entry.file_name()), entry.path()).unwrap();
    }
    symlink("..first", folder.join("..data")).unwrap();
}

/// Replaces one value, as the kubelet does it: with a whole new folder.
pub fn update(folder: &Path, name: &str, value: &[u8]) {
    let (old, new) = (folder.join("..first"), folder.join("..second"));
    fs::create_dir(&new).unwrap();
    for entry in fs::read_dir(&old).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), new.join(entry.file_name())).unwrap();
    }
    fs::write(new.join(name), value).unwrap();
    symlink("..second", folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    fs::remove_dir_all(old).unwrap();
}
