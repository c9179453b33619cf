//! Reports active CRLs to the log and the metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Weak};

use super::evaluation_time::EvaluationTime;
use super::list::Crl;
use super::number::Number;
use super::store::CrlSet;
use super::succession::Contradiction;
use super::verdict::{date, time};
use super::{DecidingCrl, LoadError};
use crate::telemetry::metrics;
use crate::util::calendar::rfc3339;
use crate::util::clock;

/// The longest name of a scope, in characters: a label is no place for a document.
const LONGEST: usize = 200;

/// What the gauges say of the CRLs of one issuer and scope.
struct InForce {
    entries: usize,
    this_update: u64,
    next_update: u64,
}

/// A CRL that waits until the active one is over, because each of the two is older by one measure: what a CA
/// issues that was restored from a backup, or whose clock was wrong.
struct HeldBack {
    waiting: DecidingCrl,
    active: DecidingCrl,
}

/// Whose list it is, and what about.
type Labels = (String, String);

/// Logs each CRL that has become active and each that could not, and sets the gauges of all that are.
pub(crate) fn observe(lists: &CrlSet, previous: Option<&CrlSet>) {
    for list in lists.in_force(clock::seconds()) {
        let previous = previous.filter(|previous| is_in(list, previous));
        if previous.is_none() {
            log(list);
        }
        if lists.is_orphan(list) && !previous.is_some_and(|previous| previous.is_orphan(list)) {
            log_orphan(list);
        }
    }
    for one in lists.contradictions() {
        if !previous.is_some_and(|previous| is_known(one, previous)) {
            log_held_back(one);
        }
    }
    let known = previous.map_or(&[][..], |previous| &previous.refused);
    for refused in &lists.refused {
        if !known.iter().any(|known| Arc::ptr_eq(known, refused)) {
            // Here and not where it is read: files that change meanwhile are read again.
            if !matches!(**refused, LoadError::Displaced { .. }) {
                metrics::crl_refused("unusable");
            }
            tracing::error!(reason = %refused, "a CRL is not used, the last good one stays in force");
        }
    }
    let in_force = in_force(lists);
    let gone: BTreeSet<_> = previous
        .into_iter()
        .flat_map(CrlSet::all)
        .map(|list| labels(list))
        .filter(|labels| !in_force.contains_key(labels))
        .collect();
    for (issuer, scope) in gone {
        metrics::crl_gone(&issuer, &scope);
    }
    set_gauges(in_force);
}

/// The CRLs that were held back and have become active since, because the ones before them ended: no reload
/// comes with that.
#[derive(Debug, Default)]
pub(crate) struct Successors(Vec<Weak<Crl>>);

impl Successors {
    /// Logs those that have become active since the last look, and sets the gauges.
    pub(crate) fn look(&mut self, lists: &CrlSet) {
        let now = EvaluationTime::new(clock::seconds());
        let ended = lists.contradictions().filter(|one| one.is_resolved(&now));
        let active: Vec<_> = ended.map(|one| &one.waiting).collect();
        let known = std::mem::replace(
            &mut self.0,
            active.iter().map(|list| Arc::downgrade(list)).collect(),
        );
        let mut changed = false;
        for list in active {
            if !known
                .iter()
                .any(|known| known.as_ptr() == Arc::as_ptr(list))
            {
                log(list);
                changed = true;
            }
        }
        if changed {
            set_gauges(in_force(lists));
        }
    }
}

fn set_gauges(in_force: BTreeMap<Labels, InForce>) {
    for ((issuer, scope), one) in in_force {
        metrics::crl_in_force(
            &issuer,
            &scope,
            time(one.this_update),
            time(one.next_update),
            one.entries,
        );
    }
}

fn log_orphan(delta: &Crl) {
    metrics::crl_refused("no_base");
    tracing::error!(
        issuer = %delta.issuer,
        number = delta.number_text(),
        base = delta.base.as_ref().map(Number::text),
        "a delta CRL is over a complete list that is not here: what was revoked between the complete list that is here and \
         that one is not known, so publish the list with the number of its base, or a later one"
    );
}

impl CrlSet {
    /// The active deltas whose base is not here, each by its issuer and its base's number.
    #[cfg(feature = "tls")]
    pub(crate) fn without_base(&self) -> impl Iterator<Item = (String, String)> {
        let active = self.in_force(clock::seconds());
        let orphans = active.filter(|list| self.is_orphan(list));
        orphans.map(|list| {
            let base = list.base.as_ref().map(Number::text);
            (list.issuer.to_string(), base.unwrap_or_default())
        })
    }
}

/// By issuer and scope; of lists that share both, by an old key and a new one, the one that is due
/// first.
fn in_force(lists: &CrlSet) -> BTreeMap<Labels, InForce> {
    let mut all: BTreeMap<_, InForce> = BTreeMap::new();
    for list in lists.in_force(clock::seconds()) {
        let known = all.entry(labels(list)).or_insert(InForce {
            entries: 0,
            this_update: u64::MAX,
            next_update: u64::MAX,
        });
        known.entries += list.len();
        if list.next_update < known.next_update {
            known.next_update = list.next_update;
            known.this_update = list.this_update;
        }
    }
    all
}

fn is_in(list: &Crl, lists: &CrlSet) -> bool {
    lists
        .by(&list.issuer)
        .iter()
        .any(|other| other.is_of_scope_of(list) && other.is_version_of(list))
}

fn is_known(one: &Contradiction, lists: &CrlSet) -> bool {
    lists.contradictions().any(|known| {
        known.waiting.is_of_scope_of(&one.waiting)
            && known.waiting.is_version_of(&one.waiting)
            && known.in_force.is_version_of(&one.in_force)
    })
}

fn log_held_back(one: &Contradiction) {
    metrics::crl_refused("older");
    let told = HeldBack::of(one);
    let HeldBack { waiting, active } = &told;
    tracing::error!(
        issuer = waiting.issuer,
        scope = waiting.scope,
        number = waiting.number,
        this_update = rfc3339(waiting.this_update),
        in_force_number = active.number,
        in_force_this_update = rfc3339(active.this_update),
        in_force_until = rfc3339(active.next_update),
        reason = %told,
        "a CRL is held back, the one before it stays in force"
    );
}

impl CrlSet {
    /// Returns, for an operator, which CRLs wait until the active ones are over, why, and what to do.
    pub fn held_back(&self) -> impl Iterator<Item = String> {
        self.contradictions()
            .map(|one| HeldBack::of(one).to_string())
    }
}

impl HeldBack {
    fn of(one: &Contradiction) -> Self {
        Self {
            waiting: DecidingCrl::of(&one.waiting),
            active: DecidingCrl::of(&one.in_force),
        }
    }
}

impl fmt::Display for HeldBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = |one: &DecidingCrl| {
            let number = one.number.as_deref().unwrap_or("none").to_owned();
            format!("number {number} of {}", rfc3339(one.this_update))
        };
        let Self { waiting, active } = self;
        let is_same_version =
            (waiting.this_update, &waiting.number) == (active.this_update, &active.number);
        let why = if is_same_version {
            "it has the same number and thisUpdate, and another content"
        } else {
            "one has the higher number and the other the later thisUpdate, as where a CA was restored from \
             a backup or its clock was wrong"
        };
        write!(
            f,
            "the CRL of {} ({}), {}, contradicts the one in force, {}: {why}. What it revokes counts; for the rest it waits until the one in force is past its \
             nextUpdate, {}. To have it taken at once, let the CA issue a CRL that is later by both, or \
             remove the one in force wherever it is kept and start anew",
            waiting.issuer,
            waiting.scope,
            version(waiting),
            version(active),
            rfc3339(active.next_update),
        )
    }
}

impl DecidingCrl {
    pub(super) fn of(list: &Crl) -> Self {
        let (issuer, scope) = labels(list);
        Self {
            issuer,
            scope,
            number: list.number_text(),
            this_update: time(list.this_update),
            next_update: time(list.next_update),
        }
    }
}

fn log(list: &Crl) {
    let DecidingCrl {
        issuer,
        scope,
        number,
        ..
    } = DecidingCrl::of(list);
    let seconds_left = time(list.next_update).duration_since(clock::now());
    tracing::info!(
        issuer,
        scope,
        number,
        entries = list.len(),
        this_update = date(list.this_update),
        next_update = date(list.next_update),
        seconds_left = seconds_left.map_or(0, |left| left.as_secs()),
        "CRL in force"
    );
}

fn labels(list: &Crl) -> Labels {
    (list.issuer.to_string(), scope(list))
}

/// What a list is about, in words that tell its issuer's lists apart.
fn scope(list: &Crl) -> String {
    let kind = if list.base.is_some() {
        "delta"
    } else {
        "complete"
    };
    let text = format!("{kind}{}", list.scope);
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => text[..end].to_owned(),
        None => text,
    }
}
