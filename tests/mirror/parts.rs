//! A part is not given for the whole.

use serde_json::{Value, json};

use crate::misbehaving::{Fault, Misbehaving};
use crate::support::{
    Data, INDEX, LONG, MANIFEST, NONE, Server, assert_error, descriptor, noise, sha256, until,
};
use crate::upstream::Patience;
use axum::body::Bytes;
use std::time::Duration;

const TAGS: &str = "/v2/a/tags/list";

fn names(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("t{number:05}")).collect()
}

fn page(tags: &[String], link: Option<String>) -> Fault {
    let body = serde_json::to_vec(&json!({"name": "a", "tags": tags})).unwrap();
    let link = link.map(|link| ("link", link));
    Fault::Answer(200, link.into_iter().collect(), Bytes::from(body))
}

async fn list(mirror: &Server, query: &str) -> (Vec<String>, bool) {
    let response = mirror.get(&format!("{TAGS}{query}")).await;
    assert_eq!(response.status(), 200, "{query}");
    let more = response.headers().contains_key("link");
    let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    (serde_json::from_value(body["tags"].clone()).unwrap(), more)
}

#[tokio::test]
async fn a_listing_is_read_to_its_end_however_its_pages_are_linked() {
    for form in [
        "</v2/a/tags/list?QUERY>; rel=\"next\"",
        "<v2/a/tags/list?QUERY>; rel=next",
        "<?QUERY>; rel=\"next\"",
        "<URL/v2/a/tags/list?QUERY>; rel=\"next\"",
        "<https://registry.internal:5000/v2/a/tags/list?QUERY>; rel=\"next\"",
        "</v2/a/tags/list?n=1>; rel=\"first\", </v2/a/tags/list?QUERY>; rel=\"next\"",
        "</v2/a/tags/list?QUERY>; title=\"a, <b>\"; rel=\"next\", </x>; rel=\"last\"",
    ] {
        let (upstream, here) = (Misbehaving::start().await, Data::new());
        let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
        let link = |query: &str| {
            let link = form.replace("URL", &upstream.url());
            Some(link.replace("QUERY", query))
        };
        let get = format!("GET {TAGS}");
        upstream.at(&get, page(&names(0..100), link("n=100&last=t00099")));
        let second = format!("{get}?n=100&last=t00099");
        upstream.at(&second, page(&names(100..200), link("n=100&last=t00199")));
        let third = format!("{get}?n=100&last=t00199");
        upstream.at(&third, page(&names(200..300), None));
        assert_eq!(list(&mirror, "").await, (names(0..300), false), "{form}");
    }
}

#[tokio::test]
async fn a_listing_whose_next_page_is_not_to_be_had_is_not_given() {
    for fault in [
        Fault::Status(401),
        Fault::Status(404),
        Fault::Status(500),
        Fault::Answer(200, vec![], Bytes::from("<html>")),
        // The same page again.
        page(&names(0..2), Some(format!("<{TAGS}?last=x>; rel=\"next\""))),
        // A next page whose link cannot be followed.
        page(&names(0..2), Some(format!("<{TAGS}>; rel=\"next\""))),
    ] {
        let (upstream, here) = (Misbehaving::start().await, Data::new());
        let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
        let link = Some(format!("<{TAGS}?last=x>; rel=\"next\""));
        upstream.at(&format!("GET {TAGS}"), page(&names(0..2), link));
        upstream.at(&format!("GET {TAGS}?last=x"), fault);
        assert_error(mirror.get(TAGS).await, 502, "UNAVAILABLE").await;
    }
}

#[tokio::test]
async fn a_list_of_referrers_whose_next_page_is_not_to_be_had_is_not_given() {
    let one = |name: &[u8]| descriptor(MANIFEST, name);
    let page = |found: Value, link: Option<&str>| {
        let body = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [found]});
        let link = link.map(|query| ("link", format!("<{query}>; rel=\"next\"")));
        let body = Bytes::from(serde_json::to_vec(&body).unwrap());
        Fault::Answer(200, link.into_iter().collect(), body)
    };
    let subject = sha256(b"subject");
    let path = format!("/v2/a/referrers/{subject}");
    for (second, whole) in [
        (page(one(b"second"), None), true),
        (Fault::Status(404), false),
        (Fault::Status(500), false),
        (Fault::Answer(200, vec![], Bytes::from("<html>")), false),
        // A next page whose link cannot be followed.
        (page(one(b"second"), Some("/v2/a/x")), false),
    ] {
        let (upstream, here) = (Misbehaving::start().await, Data::new());
        let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
        upstream.at("GET /v2/a/ref", page(one(b"first"), Some("?page=2")));
        upstream.at(&format!("GET {path}?page=2"), second);
        let get = mirror.get(&path).await;
        if whole {
            let found: Value = serde_json::from_str(&get.text().await.unwrap()).unwrap();
            assert_eq!(found["manifests"].as_array().unwrap().len(), 2);
        } else {
            assert_error(get, 502, "UNAVAILABLE").await;
        }
        // The tag is for registries that list none.
        assert_eq!(upstream.asked("GET /v2/a/manifests/"), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_listing_of_many_pages_is_had_whole_and_by_pages() {
    const PAGES: usize = 100;
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    let get = format!("GET {TAGS}");
    for number in 0..PAGES {
        let next = number + 1;
        let last = format!("n=3&last=t{:05}", next * 3 - 1);
        let link = (next < PAGES).then(|| format!("<{TAGS}?{last}>; rel=\"next\""));
        let at = match number {
            0 => get.clone(),
            _ => format!("{get}?n=3&last=t{:05}", number * 3 - 1),
        };
        upstream.at(&at, page(&names(number * 3..next * 3), link));
    }
    assert_eq!(list(&mirror, "").await, (names(0..3 * PAGES), false));
    upstream.forget_asked();
    let mut found = Vec::new();
    let mut query = "?n=3".to_owned();
    while found.len() < 3 * PAGES {
        let (more, goes_on) = list(&mirror, &query).await;
        found.extend(more);
        assert_eq!(goes_on, found.len() < 3 * PAGES, "{query}");
        query = format!("?n=3&last={}", found.last().unwrap());
    }
    assert_eq!(found, names(0..3 * PAGES));
    assert_eq!(upstream.asked("").len(), PAGES);
}

#[tokio::test]
async fn a_page_of_a_long_listing_costs_one_page_upstream() {
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    mirror.push_image("a", "t00006-ours", b"layer").await;
    // Its listing never ends.
    let link = |last: &str| Some(format!("<{TAGS}?n=5&last={last}>; rel=\"next\""));
    upstream.at("GET /", page(&names(0..5), link("t00004")));
    upstream.at(
        &format!("GET {TAGS}?n=5&last=t00004"),
        page(&names(5..10), link("t00009")),
    );
    assert_eq!(list(&mirror, "?n=5").await, (names(0..5), true));
    let mut expected = names(5..10);
    expected.insert(2, "t00006-ours".to_owned());
    expected.truncate(5);
    assert_eq!(list(&mirror, "?n=5&last=t00004").await, (expected, true));
    assert_eq!(upstream.asked("GET ").len(), 2);
}

#[tokio::test]
async fn a_page_is_right_where_the_upstream_heeds_neither_size_nor_place() {
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    let mut tags = names(0..10);
    tags.reverse();
    upstream.at("GET /", page(&tags, None));
    assert_eq!(list(&mirror, "?n=3").await, (names(0..3), true));
    assert_eq!(list(&mirror, "?n=3&last=t00002").await, (names(3..6), true));
    assert_eq!(
        list(&mirror, "?n=3&last=t00006").await,
        (names(7..10), false)
    );
    // One that takes no number at all.
    upstream.at(&format!("GET {TAGS}?n"), Fault::Status(400));
    assert_eq!(list(&mirror, "?n=3").await, (names(0..3), true));
    assert_eq!(list(&mirror, "?n=0").await, (Vec::new(), false));
}

#[tokio::test]
async fn names_that_are_no_tags_are_left_out() {
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    for (body, expected) in [
        (r#"{"tags":["b","","../x","a b"]}"#, json!(["b"])),
        (r#"{"tags":null}"#, json!([])),
        (r#"{"tags":[]}"#, json!([])),
    ] {
        upstream.at("GET /", Fault::Answer(200, vec![], Bytes::from(body)));
        let tags = mirror.get(TAGS).await;
        let tags: Value = serde_json::from_str(&tags.text().await.unwrap()).unwrap();
        assert_eq!(tags["tags"], expected);
    }
}

/// A mirror that does not wait before it goes on.
async fn eager(here: &Data, upstream: &Misbehaving) -> Server {
    let patience = Patience {
        pause: Duration::from_millis(1),
        ..Patience::default()
    };
    Server::patient(here, upstream, patience, NONE).await
}

#[tokio::test]
async fn a_blob_that_the_upstream_cuts_again_and_again_is_had_whole() {
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let mirror = eager(&here, &upstream).await;
    let content = noise(2_000_000);
    let blob = format!("/v2/a/blobs/{}", upstream.put_blob("a", &content));
    upstream.at("GET /v2/a/blobs/", Fault::Cut(300_000));
    let get = mirror.get(&blob).await;
    assert_eq!(get.status(), 200);
    assert!(get.bytes().await.unwrap() == content);
    let ranges = upstream.headers("GET /v2/a/blobs/", "range");
    assert!(ranges.len() >= 7, "{ranges:?}");
    assert!(
        ranges[1..].iter().all(|range| range.starts_with("bytes=")),
        "{ranges:?}"
    );
    assert_eq!(here.files("blobs").len(), 1);
    assert_eq!(here.files("tmp").len(), 0);
}

#[tokio::test]
async fn a_transfer_goes_on_through_other_faults_too() {
    for fault in [Fault::Status(500), Fault::Status(503), Fault::NoRanges] {
        let (upstream, here) = (Misbehaving::start().await, Data::new());
        let mirror = eager(&here, &upstream).await;
        let content = noise(1_000_000);
        let blob = format!("/v2/a/blobs/{}", upstream.put_blob("a", &content));
        // The last rule counts first.
        upstream.times(2, "GET /v2/a/blobs/", fault);
        upstream.times(1, "GET /v2/a/blobs/", Fault::Cut(400_000));
        let get = mirror.get(&blob).await;
        assert_eq!(get.status(), 200);
        assert!(get.bytes().await.unwrap() == content);
    }
}

#[tokio::test]
async fn a_client_goes_on_where_its_transfer_failed_and_so_does_the_mirror() {
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let mirror = eager(&here, &upstream).await;
    let content = noise(2_000_000);
    let blob = format!("/v2/a/blobs/{}", upstream.put_blob("a", &content));
    upstream.at("GET /v2/a/blobs/", Fault::Status(500));
    upstream.times(1, "GET /v2/a/blobs/", Fault::Cut(1_500_000));
    let mut get = mirror.get(&blob).await;
    assert_eq!(get.status(), 200);
    let mut seen = Vec::new();
    while let Ok(Some(chunk)) = get.chunk().await {
        seen.extend_from_slice(&chunk);
    }
    assert!(
        seen.len() > 500_000 && seen.len() < content.len(),
        "{}",
        seen.len()
    );
    assert_eq!(here.files("blobs").len(), 0);
    assert_eq!(here.files("repositories").len(), 0);
    upstream.mend();
    upstream.forget_asked();
    let rest = mirror.request(reqwest::Method::GET, &blob);
    let rest = rest.header("range", format!("bytes={}-", seen.len()));
    let rest = rest.send().await.unwrap();
    assert_eq!(rest.status(), 206);
    seen.extend_from_slice(&rest.bytes().await.unwrap());
    assert!(seen == content);
    let ranges = upstream.headers("GET /v2/a/blobs/", "range");
    assert_eq!(ranges.len(), 1);
    let start = ranges[0]
        .strip_prefix("bytes=")
        .unwrap()
        .strip_suffix('-')
        .unwrap();
    assert!(start.parse::<usize>().unwrap() >= 500_000, "{start}");
}

#[tokio::test]
async fn what_does_not_fit_together_is_not_kept_and_spoils_nothing_after_it() {
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let mirror = eager(&here, &upstream).await;
    let content = noise(1_000_000);
    let blob = format!("/v2/a/blobs/{}", upstream.put_blob("a", &content));
    let mut wrong = content.clone();
    wrong[10] ^= 1;
    upstream.put(&blob, "application/octet-stream", wrong);
    upstream.at("GET /v2/a/blobs/", Fault::Status(500));
    upstream.times(1, "GET /v2/a/blobs/", Fault::Cut(600_000));
    assert!(mirror.get(&blob).await.bytes().await.is_err());
    // It goes on with the right rest of the wrong beginning.
    upstream.put(&blob, "application/octet-stream", content.clone());
    upstream.mend();
    assert!(mirror.get(&blob).await.bytes().await.is_err());
    until("the wrong beginning is gone", || {
        here.files("tmp").is_empty()
    })
    .await;
    assert!(mirror.get(&blob).await.bytes().await.unwrap() == content);
    assert_eq!(
        sha256(&std::fs::read(&here.files("blobs")[0]).unwrap()),
        sha256(&content)
    );
}

#[tokio::test]
async fn a_blob_of_unknown_length_is_had() {
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let mirror = eager(&here, &upstream).await;
    let content = noise(300_000);
    let blob = format!("/v2/a/blobs/{}", upstream.put_blob("a", &content));
    upstream.at("", Fault::NoLength);
    assert!(mirror.get(&blob).await.bytes().await.unwrap() == content);
}
