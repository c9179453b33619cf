//! What happens at the same time.

use std::path::PathBuf;

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Data, INDEX, Server, noise, sha256};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pushes_mounts_and_deletes_of_one_blob_never_leave_a_name_without_content() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let content = noise(100_000);
    let digest = sha256(&content);
    let worker = |number: usize| {
        let (server, content, digest) = (&server, &content, &digest);
        async move {
            for turn in 0..20 {
                let (here, there) = (number % 4, (number + turn) % 4);
                let path = format!("/v2/r{here}/blobs/{digest}");
                match (number + turn) % 3 {
                    0 => drop(server.push_blob(&format!("r{here}"), content).await),
                    1 => {
                        let path =
                            format!("/v2/r{here}/blobs/uploads/?mount={digest}&from=r{there}");
                        let status = server.post(&path, "").await.status().as_u16();
                        assert!([201, 202].contains(&status), "{status}");
                    }
                    _ => {
                        let status = server.delete(&path).await.status().as_u16();
                        assert!([202, 404].contains(&status), "{status}");
                    }
                }
                let get = server.get(&path).await;
                if get.status() == 200 {
                    assert!(get.bytes().await.unwrap() == *content);
                } else {
                    assert_eq!(get.status(), 404);
                }
            }
        }
    };
    join_all((0..8).map(worker)).await;
    let links = data.files("repositories").len();
    assert_eq!(data.files("blobs").len(), usize::from(links > 0));
    assert_eq!(data.files("tmp"), Vec::<PathBuf>::new());
    for number in 0..4 {
        server
            .delete(&format!("/v2/r{number}/blobs/{digest}"))
            .await;
    }
    assert_eq!(data.files("blobs").len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_tag_that_is_listed_has_its_manifest_whatever_is_deleted_meanwhile() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let manifest = |number: usize| {
        let index = json!({"schemaVersion": 2, "manifests": [], "annotations": {"number": number.to_string()}});
        serde_json::to_vec(&index).unwrap()
    };
    let worker = |number: usize| {
        let server = &server;
        async move {
            for turn in 0..20 {
                let content = manifest((number + turn) % 3);
                if (number + turn) % 4 == 3 {
                    let path = format!("/v2/a/manifests/{}", sha256(&content));
                    let status = server.delete(&path).await.status().as_u16();
                    assert!([202, 404].contains(&status), "{status}");
                } else {
                    let tag = format!("t{}", turn % 5);
                    let put = server.put_manifest("a", &tag, INDEX, &content).await;
                    // Deleted between the manifest and its tag.
                    let status = put.status().as_u16();
                    assert!([201, 404].contains(&status), "{status}");
                }
            }
        }
    };
    join_all((0..6).map(worker)).await;
    let tags = server.get("/v2/a/tags/list").await.text().await.unwrap();
    let tags: serde_json::Value = serde_json::from_str(&tags).unwrap();
    for tag in tags["tags"].as_array().unwrap() {
        let path = format!("/v2/a/manifests/{}", tag.as_str().unwrap());
        assert_eq!(server.get(&path).await.status(), 200, "{tag}");
    }
}
