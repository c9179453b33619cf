use std::time::Duration;

use axum::http::{HeaderMap, Method};
use portcullis::oci::is_tag;
use reqwest::Url;
use serde::Deserialize;

use super::client::Question;
use super::{PullThrough, Upstream, UpstreamError, link};
use crate::store::{AtMost, Caller, Descriptor, Digest, MAX_MANIFEST, Store};

/// How long a page of tags may be, in bytes. Of referrers each is an index, and all pages together are kept.
const MAX_TAGS: usize = 8 * 1024 * 1024;
const MAX_REFERRERS: usize = 2 * MAX_MANIFEST;
/// How many pages and entries are read of one listing, and for how long.
const PAGES: usize = 1000;
const ENTRIES: usize = 100_000;
const PATIENCE: Duration = Duration::from_secs(2 * 60);
/// How many entries registries give at most at once.
const WINDOW: usize = 1000;

/// Names in the order in which the upstream has them, and whether there are more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) names: Vec<String>,
    pub(super) more: bool,
}

#[derive(Deserialize)]
struct TagPage {
    // An empty list is `null` in some registries.
    tags: Option<AtMost<String, ENTRIES>>,
}

#[derive(Deserialize)]
struct ReferrerPage {
    manifests: Option<AtMost<Descriptor, ENTRIES>>,
}

impl Upstream {
    /// The tags of a repository after `last`: `n` of them, or all. More are there only if that is told.
    pub(super) async fn tags(
        &self,
        repository: &str,
        n: Option<usize>,
        last: Option<&str>,
    ) -> Result<Names, UpstreamError> {
        if let Some(n) = n {
            let window = self.tag_window(repository, n, last).await;
            match window {
                Ok(window) if is_in_order(&window.names, last) => return Ok(window),
                // Some know neither `n` nor `last`, or have an order of their own.
                Ok(_) => {}
                Err(error) if error.is_of_the_question() && !error.is_verdict() => {}
                Err(error) => return Err(error),
            }
        }
        let all = self
            .tag_pages(repository, String::new(), usize::MAX)
            .await?;
        let mut names = all.names;
        names.sort_unstable();
        names.dedup();
        if let Some(last) = last {
            names.retain(|name| name.as_str() > last);
        }
        let more = false;
        Ok(Names { names, more })
    }

    async fn tag_window(
        &self,
        repository: &str,
        n: usize,
        last: Option<&str>,
    ) -> Result<Names, UpstreamError> {
        let mut url = somewhere()?;
        let size = n.clamp(1, WINDOW).to_string();
        let pairs = std::iter::once(("n", size.as_str()));
        let pairs = pairs.chain(last.map(|last| ("last", last)));
        url.query_pairs_mut().extend_pairs(pairs);
        let query = format!("?{}", url.query().unwrap_or_default());
        self.tag_pages(repository, query, n.max(1)).await
    }

    /// The tags of as many pages as have `enough` of them.
    async fn tag_pages(
        &self,
        repository: &str,
        query: String,
        enough: usize,
    ) -> Result<Names, UpstreamError> {
        let mut names = Vec::new();
        let mut pages = Pages::new(self, repository, "tags/list", query);
        pages.most = MAX_TAGS;
        while let Some(text) = pages.next().await? {
            let page: TagPage = serde_json::from_slice(&text).map_err(|_| none())?;
            let tags = page.tags.map(|AtMost(tags)| tags).unwrap_or_default();
            // No client can ask for what is no tag.
            names.extend(tags.into_iter().filter(|name| is_tag(name)));
            if names.len() >= enough {
                break;
            }
            if names.len() > ENTRIES {
                return Err(too_long());
            }
        }
        let more = pages.query.is_some();
        Ok(Names { names, more })
    }

    /// The referrers that a manifest has. From a registry without a listing of them, by the tag that
    /// clients keep there (distribution-spec, "Referrers Tag Schema").
    pub(super) async fn referrers(
        &self,
        repository: &str,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, UpstreamError> {
        let path = format!("referrers/{subject}");
        let mut pages = Pages::new(self, repository, &path, String::new());
        let first = match pages.next().await {
            Ok(text) => descriptors(&text.unwrap_or_default()),
            // It is a listing, though one that does not go on.
            Err(error) if pages.read > 0 => return Err(error),
            Err(error) => Err(error),
        };
        let mut found = match first {
            Err(error) if error.is_of_the_question() => {
                let tag = referrers_tag(subject);
                let question = Question::manifest(Method::GET, repository, &tag);
                let (_, _, text) = self.text(question, MAX_MANIFEST).await?;
                return descriptors(&text);
            }
            first => first?,
        };
        let mut left = MAX_REFERRERS;
        while let Some(text) = pages.next().await? {
            left = left.checked_sub(text.len()).ok_or_else(too_long)?;
            found.extend(descriptors(&text)?);
        }
        Ok(found)
    }
}

impl PullThrough {
    /// A page of the tags of a repository, those here and those upstream, and whether more follow:
    /// the `n` after `last`, or all. `None` if neither has the repository. `here` is in order.
    pub(crate) async fn tags(
        &self,
        caller: &Caller,
        repository: &str,
        here: Option<Vec<String>>,
        (n, last): (Option<usize>, Option<&str>),
    ) -> Result<Option<(Vec<String>, bool)>, UpstreamError> {
        let _place = self.listings.take(caller).await?;
        let asked = self.upstream.tags(repository, n, last).await;
        let known = here.is_some();
        if known && (asked.is_ok() || asked.as_ref().is_err_and(UpstreamError::is_verdict)) {
            self.note(repository, asked.is_ok()).await?;
        }
        let there = match self.judged_by(repository, asked, Store::is_own).await {
            Err(error) if error.is_verdict() => None,
            there => Some(there?),
        };
        if !known && there.is_none() {
            return Ok(None);
        }
        let Names { names, more } = there.unwrap_or_default();
        let mut all = here.unwrap_or_default();
        if let Some(last) = last {
            all.retain(|name| name.as_str() > last);
        }
        if more {
            // What follows the upstream's page may belong before the rest of what is here.
            let end = names.last().cloned().unwrap_or_default();
            all.retain(|name| *name <= end);
        }
        all.extend(names);
        all.sort_unstable();
        all.dedup();
        let n = n.unwrap_or(all.len());
        let more = more || n < all.len();
        all.truncate(n);
        Ok(Some((all, more)))
    }

    /// The referrers that a manifest has upstream.
    pub(crate) async fn referrers(
        &self,
        caller: &Caller,
        repository: &str,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, UpstreamError> {
        let _place = self.listings.take(caller).await?;
        let asked = self.upstream.referrers(repository, subject).await;
        if asked.as_ref().is_ok_and(|found| !found.is_empty()) {
            self.note(repository, true).await?;
        }
        match self.judged_by(repository, asked, Store::is_own).await {
            Err(error) if error.is_verdict() => Ok(Vec::new()),
            found => found,
        }
    }

    async fn note(&self, repository: &str, has: bool) -> Result<(), UpstreamError> {
        let name = repository.to_owned();
        let note = move |store: &Store| {
            store.note_upstream(&name, has);
            Ok(())
        };
        Ok(self.store.run(note).await?)
    }
}

/// The pages of a listing. All are asked at the same path: of the link to the next one only the query
/// counts, so that it cannot lead elsewhere, and one that names the host or path by which a proxy knows
/// the registry is followed all the same.
struct Pages<'a> {
    upstream: &'a Upstream,
    repository: &'a str,
    path: String,
    /// Of the next page, if there is one.
    query: Option<String>,
    read: usize,
    /// How long a page may be.
    most: usize,
    until: tokio::time::Instant,
}

impl<'a> Pages<'a> {
    fn new(upstream: &'a Upstream, repository: &'a str, path: &str, query: String) -> Self {
        Self {
            upstream,
            repository,
            path: path.to_owned(),
            query: Some(query),
            read: 0,
            most: MAX_MANIFEST,
            until: tokio::time::Instant::now() + PATIENCE,
        }
    }

    async fn next(&mut self) -> Result<Option<Vec<u8>>, UpstreamError> {
        let Some(query) = self.query.take() else {
            return Ok(None);
        };
        let question = Question::new(
            Method::GET,
            self.repository,
            format!("{}{query}", self.path),
        );
        let asked = self.upstream.text(question, self.most);
        let asked = tokio::time::timeout_at(self.until, asked);
        let answered = asked.await.unwrap_or_else(|_| Err(too_long()));
        let (_, headers, text) = match answered {
            // A listing that has begun does not end for want of its next page.
            Err(error) if self.read > 0 && error.is_of_the_question() => {
                return Err(UpstreamError::Invalid("a listing without its next page"));
            }
            answered => answered?,
        };
        self.read += 1;
        let next = next_query(&headers)?;
        if next.as_ref() == Some(&query) || (next.is_some() && self.read >= PAGES) {
            return Err(too_long());
        }
        self.query = next;
        Ok(Some(text))
    }
}

fn next_query(headers: &HeaderMap) -> Result<Option<String>, UpstreamError> {
    let Some(target) = link::next(headers) else {
        return Ok(None);
    };
    let url = somewhere()?.join(target).ok();
    let query = url.as_ref().and_then(Url::query);
    let query = query.ok_or(UpstreamError::Invalid("a next page that is the first"))?;
    Ok(Some(format!("?{query}")))
}

/// A URL to read and write queries by; nothing is asked there.
fn somewhere() -> Result<Url, UpstreamError> {
    Url::parse("http://localhost/").map_err(|_| none())
}

fn descriptors(text: &[u8]) -> Result<Vec<Descriptor>, UpstreamError> {
    let page: ReferrerPage = serde_json::from_slice(text).map_err(|_| none())?;
    let found = page.manifests.map(|AtMost(found)| found);
    let found = found.unwrap_or_default();
    let valid = |found: &Descriptor| portcullis::oci::is_digest(&found.digest);
    if found.iter().all(valid) {
        Ok(found)
    } else {
        Err(none())
    }
}

/// `<algorithm>-<encoded>`, both cut to what a tag may be.
fn referrers_tag(subject: &Digest) -> String {
    let algorithm = subject.algorithm().as_str();
    let hex = subject.hex();
    format!("{algorithm}-{}", &hex[..hex.len().min(64)])
}

fn is_in_order(names: &[String], last: Option<&str>) -> bool {
    let first = names.first().map(String::as_str);
    names.is_sorted_by(|a, b| a < b)
        && first.is_none_or(|first| last.is_none_or(|last| last < first))
}

fn none() -> UpstreamError {
    UpstreamError::Invalid("a listing that is none")
}

fn too_long() -> UpstreamError {
    UpstreamError::Invalid("a listing that does not end")
}

#[cfg(test)]
mod tests {
    use axum::http::header::LINK;

    use super::*;

    #[test]
    fn of_a_link_only_the_query_counts() {
        for (link, expected) in [
            (
                "</v2/a/tags/list?n=1&last=b>; rel=next",
                Some("?n=1&last=b"),
            ),
            (
                "<https://inside:5000/v2/x?last=b>; rel=next",
                Some("?last=b"),
            ),
            ("<?last=b>; rel=next", Some("?last=b")),
            ("<?last=b#c>; rel=next", Some("?last=b")),
            ("</v2/a/tags/list>; rel=next", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(LINK, link.parse().unwrap());
            let found = next_query(&headers).ok().flatten();
            assert_eq!(found.as_deref(), expected, "{link}");
        }
        assert!(next_query(&HeaderMap::new()).unwrap().is_none());
    }

    #[test]
    fn the_tag_of_a_digest_is_cut_to_64_digits() {
        let long = format!("sha512:{}", "ab".repeat(64)).parse().unwrap();
        let short = format!("sha256:{}", "cd".repeat(32)).parse().unwrap();
        assert_eq!(referrers_tag(&long), format!("sha512-{}", "ab".repeat(32)));
        assert_eq!(referrers_tag(&short), format!("sha256-{}", "cd".repeat(32)));
    }
}
