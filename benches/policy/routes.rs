use std::hint::black_box;

use http::{Method, Uri};
use portcullis::oci::Route;
use regex::Regex;

use crate::DIGEST;
use crate::figures::Figures;
use crate::time::time;

pub(crate) fn measure(figures: &mut Figures) {
    let part = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
    let tag = "[0-9A-Za-z_][0-9A-Za-z_.-]{0,127}";
    let digest = "[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[[:xdigit:]]{32,}";
    let regex = |rest: String| Regex::new(&format!("^/v2/({part}(?:/{part})*)/{rest}$")).unwrap();
    let content = regex(format!("(manifests|blobs)/({tag}|{digest})"));
    let uploads = regex("blobs/uploads/([A-Za-z0-9_.=-]*)".to_owned());
    let referrers = regex(format!("referrers/({digest})"));
    let upload = "blobs/uploads/6d4a3b3c-8f0e-4c36-a5c3-0f4f0a1f3a52";
    for (name, method, rest, regex) in [
        (
            "route: manifest by tag",
            Method::GET,
            "manifests/latest".to_owned(),
            &content,
        ),
        (
            "route: blob",
            Method::GET,
            format!("blobs/{DIGEST}"),
            &content,
        ),
        (
            "route: blob with ?ns=",
            Method::GET,
            format!("blobs/{DIGEST}?ns=docker.io"),
            &content,
        ),
        (
            "route: push of a manifest",
            Method::PUT,
            "manifests/latest".to_owned(),
            &content,
        ),
        (
            "route: push, its beginning",
            Method::POST,
            "blobs/uploads/".to_owned(),
            &uploads,
        ),
        (
            "route: push, a chunk",
            Method::PATCH,
            upload.to_owned(),
            &uploads,
        ),
        (
            "route: push, its end",
            Method::PUT,
            format!("{upload}?digest={DIGEST}"),
            &uploads,
        ),
        (
            "route: mount",
            Method::POST,
            format!("blobs/uploads/?mount={DIGEST}&from=library/alpine"),
            &uploads,
        ),
        (
            "route: referrers",
            Method::GET,
            format!("referrers/{DIGEST}?artifactType=application/vnd.example.sbom.v1"),
            &referrers,
        ),
    ] {
        let uri: Uri = format!("/v2/library/busybox/{rest}").parse().unwrap();
        let ours = time(|| Route::parse(&method, black_box(&uri)).unwrap());
        let theirs = time(|| regex.captures(black_box(uri.path())).unwrap().len());
        let row = figures.row(name, "ns", ours);
        row.peer("regex", theirs).at_most(150.0);
    }
}
