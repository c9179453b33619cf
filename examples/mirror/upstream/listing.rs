use std::time::Duration;

use axum::http::{HeaderMap, Method, StatusCode};
use portcullis::oci::is_tag;
use reqwest::Url;
use serde::Deserialize;

use super::client::Question;
use super::tag_walk::{Tags, Walk, cut, merged, union};
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

/// What the upstream lists.
enum Listed {
    /// Names in its own order, and whether there are more.
    Window(Vec<String>, bool),
    /// All, in the order of the bytes.
    Whole(Vec<String>),
}

#[derive(Deserialize)]
struct TagPage {
    // An empty list is `null` in some registries. What has no list is none.
    #[serde(deserialize_with = "Option::deserialize")]
    tags: Option<AtMost<String, ENTRIES>>,
}

#[derive(Deserialize)]
struct ReferrerPage {
    #[serde(deserialize_with = "Option::deserialize")]
    manifests: Option<AtMost<Descriptor, ENTRIES>>,
}

impl Upstream {
    /// The tags of a repository: some of about `n` from where the walk is, or all.
    async fn tags(
        &self,
        repository: &str,
        n: Option<usize>,
        last: Option<&str>,
        walk: &Walk,
    ) -> Result<Listed, UpstreamError> {
        if let Some(n) = n.filter(|_| *walk != Walk::Whole) {
            let after = match walk {
                Walk::Upstream(after) => after.as_deref(),
                Walk::Client | Walk::Whole => last,
            };
            let window = self.tag_window(repository, n, after).await;
            match window {
                Ok(Some((names, more))) => return Ok(Listed::Window(names, more)),
                // Names that were not shown yet would be left out.
                Ok(None) if *walk != Walk::Client => {
                    return Err(UpstreamError::Invalid("a listing that goes on otherwise"));
                }
                Ok(None) => {}
                // Some do not take a number.
                Err(error)
                    if *walk == Walk::Client
                        && error.is_of_the_question()
                        && !error.is_verdict() => {}
                Err(error) => return Err(error),
            }
        }
        let mut pages = Pages::of_tags(self, repository, String::new());
        let mut names = Vec::new();
        while let Some(tags) = pages.next_tags().await? {
            names.extend(tags);
            if names.len() > ENTRIES {
                return Err(too_long());
            }
        }
        // No client can ask for what is no tag.
        names.retain(|name| is_tag(name));
        names.sort_unstable();
        names.dedup();
        Ok(Listed::Whole(names))
    }

    /// Names after `after` in the upstream's order, and whether there are more. `None` from one that does not
    /// heed the number or the name, or does not go on by names.
    async fn tag_window(
        &self,
        repository: &str,
        n: usize,
        after: Option<&str>,
    ) -> Result<Option<(Vec<String>, bool)>, UpstreamError> {
        let size = n.clamp(1, WINDOW);
        let number = size.to_string();
        let mut url = somewhere()?;
        let pairs = std::iter::once(("n", number.as_str()));
        let pairs = pairs.chain(after.map(|after| ("last", after)));
        url.query_pairs_mut().extend_pairs(pairs);
        let query = format!("?{}", url.query().unwrap_or_default());
        let mut pages = Pages::of_tags(self, repository, query);
        loop {
            let mut tags = pages.next_tags().await?.unwrap_or_default();
            if tags.len() > size || tags.iter().any(|tag| Some(tag.as_str()) == after) {
                return Ok(None);
            }
            let more = pages.query.is_some();
            if tags.is_empty() && more {
                continue;
            }
            if more && !pages.go_on_after(tags.last()) {
                return Ok(None);
            }
            tags.retain(|name| is_tag(name));
            return Ok(Some((tags, more)));
        }
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
        let mut found = match pages.next().await {
            Ok(text) => match descriptors(&text.unwrap_or_default()) {
                // A page of the site to which the registry leads.
                Err(_) if !pages.own => return self.tagged_referrers(repository, subject).await,
                found => found?,
            },
            Err(error) if pages.read == 0 && error.is_no_such_list() => {
                return self.tagged_referrers(repository, subject).await;
            }
            Err(error) => return Err(error),
        };
        let mut left = MAX_REFERRERS;
        while let Some(text) = pages.next().await? {
            left = left.checked_sub(text.len()).ok_or_else(too_long)?;
            found.extend(descriptors(&text)?);
        }
        Ok(found)
    }

    async fn tagged_referrers(
        &self,
        repository: &str,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, UpstreamError> {
        let tag = referrers_tag(subject);
        let question = Question::manifest(Method::GET, repository, &tag);
        match self.text(question, MAX_MANIFEST).await {
            Ok((_, _, text, _)) => descriptors(&text),
            // There may be some.
            Err(UpstreamError::Refused) => Err(UpstreamError::Status(StatusCode::FORBIDDEN)),
            Err(error) => Err(error),
        }
    }
}

impl PullThrough {
    /// A page of the tags of a repository, those here and those upstream: the `n` after `last`, or all.
    /// `None` if neither has the repository. `here` is in order, all after `last` and, if there are so many,
    /// more than `n`.
    pub(crate) async fn tags(
        &self,
        caller: &Caller,
        repository: &str,
        here: Option<Vec<String>>,
        (n, last, walk): (Option<usize>, Option<&str>, &Walk),
    ) -> Result<Option<Tags>, UpstreamError> {
        let _place = self.listings.take(caller).await?;
        let mut asked = self.upstream.tags(repository, n, last, walk).await;
        if here.is_some() {
            asked = self.told(repository, asked).await?;
        }
        let there = match self.judged_by(repository, asked, Store::is_own).await {
            Err(error) if error.is_verdict() => None,
            there => Some(there?),
        };
        if here.is_none() && there.is_none() {
            return Ok(None);
        }
        let here = here.unwrap_or_default();
        let n = n.unwrap_or(usize::MAX);
        Ok(Some(match there {
            Some(Listed::Window(names, more)) => {
                let after = match walk {
                    Walk::Upstream(after) => after.clone(),
                    Walk::Client | Walk::Whole => last.map(str::to_owned),
                };
                merged((names, more), &here, n, after)
            }
            Some(Listed::Whole(mut names)) => {
                names.retain(|name| last.is_none_or(|last| name.as_str() > last));
                cut(union(&names, &here), n, &Walk::Whole)
            }
            None => cut(here, n, &Walk::Client),
        }))
    }

    /// Notes what a listing says of a repository of which something is here. That it is not given is no
    /// verdict, and neither is that it is not there, if something of it came from there.
    async fn told(
        &self,
        repository: &str,
        asked: Result<Listed, UpstreamError>,
    ) -> Result<Result<Listed, UpstreamError>, UpstreamError> {
        match asked {
            Ok(Listed::Window(ref names, _) | Listed::Whole(ref names)) => {
                // Some say so of what they do not have.
                if !names.is_empty() {
                    self.note(repository, true).await?;
                }
                Ok(asked)
            }
            Err(UpstreamError::Refused) => Ok(Err(UpstreamError::Status(StatusCode::FORBIDDEN))),
            Err(UpstreamError::Unknown) => {
                let name = repository.to_owned();
                let pulled = move |store: &Store| store.has_pulled(&name);
                if self.store.run(pulled).await? {
                    return Ok(Err(UpstreamError::Status(StatusCode::NOT_FOUND)));
                }
                self.note(repository, false).await?;
                Ok(asked)
            }
            Err(_) => Ok(asked),
        }
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
            Err(UpstreamError::Unknown) => Ok(Vec::new()),
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
    /// Whether the registry itself gave the last one.
    own: bool,
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
            own: true,
            most: MAX_MANIFEST,
            until: tokio::time::Instant::now() + PATIENCE,
        }
    }

    fn of_tags(upstream: &'a Upstream, repository: &'a str, query: String) -> Self {
        Self {
            most: MAX_TAGS,
            ..Self::new(upstream, repository, "tags/list", query)
        }
    }

    async fn next_tags(&mut self) -> Result<Option<Vec<String>>, UpstreamError> {
        let Some(text) = self.next().await? else {
            return Ok(None);
        };
        let page: TagPage = serde_json::from_slice(&text).map_err(|_| none())?;
        Ok(Some(page.tags.map(|AtMost(tags)| tags).unwrap_or_default()))
    }

    /// Whether the next page is the one after this name, a tag.
    fn go_on_after(&self, name: Option<&String>) -> bool {
        let Some(name) = name.filter(|name| is_tag(name)) else {
            return false;
        };
        let query = self.query.as_deref().unwrap_or_default();
        let url = somewhere().ok().and_then(|url| url.join(query).ok());
        url.is_some_and(|url| {
            let mut pairs = url.query_pairs();
            pairs.any(|(key, value)| key == "last" && value == **name)
        })
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
        let (_, headers, text, own) = match answered {
            // A listing that has begun does not end for want of its next page.
            Err(error) if self.read > 0 && error.is_of_the_question() => {
                return Err(UpstreamError::Invalid("a listing without its next page"));
            }
            answered => answered?,
        };
        self.read += 1;
        self.own = own;
        let next = next_query(&headers)?;
        if next.as_ref() == Some(&query) || (next.is_some() && self.read >= PAGES) {
            return Err(too_long());
        }
        self.query = next;
        Ok(Some(text))
    }
}

fn next_query(headers: &HeaderMap) -> Result<Option<String>, UpstreamError> {
    let Some(target) = link::next(headers)? else {
        return Ok(None);
    };
    let url = somewhere()?.join(&target).ok();
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
