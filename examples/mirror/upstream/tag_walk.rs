use std::collections::HashSet;

/// Where a walk through a repository's tags is. Registries have them in many orders, so only the registry
/// itself knows what follows a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Walk {
    /// After the last name that the client has, for all that it says.
    Client,
    /// After this name of the upstream's, or at its beginning.
    Upstream(Option<String>),
    /// In the order of the bytes, through all that the upstream has.
    Whole,
}

/// A page of tags, and where the next one begins: after which name, and where in the walk.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tags {
    pub(crate) names: Vec<String>,
    pub(crate) next: Option<(String, Walk)>,
}

/// A page of a window of the upstream's and what is here, which is cut after one of the upstream's names,
/// because only from there it goes on. What is here comes with the name that it does not exceed: the names
/// after which pages end lead from before all to after all, in whatever order, so none is left out.
pub(super) fn merged(
    (names, more): (Vec<String>, bool),
    here: &[String],
    n: usize,
    after: Option<String>,
) -> Tags {
    if !more && names.len().max(here.len()) <= n {
        let all = union(&names, here);
        if all.len() <= n {
            return Tags {
                names: all,
                next: None,
            };
        }
    }
    for count in (1..=names.len().min(n)).rev() {
        let (names, end) = (&names[..count], &names[count - 1]);
        let until = here.partition_point(|name| name <= end);
        if until > n {
            continue;
        }
        let all = union(names, &here[..until]);
        if all.len() <= n {
            let walk = Walk::Upstream(Some(end.clone()));
            return Tags {
                names: all,
                next: Some((end.clone(), walk)),
            };
        }
    }
    // More than fit come before the upstream's next.
    let names = here[..here.len().min(n)].to_vec();
    let next = names.last().cloned();
    Tags {
        names,
        next: next.map(|last| (last, Walk::Upstream(after))),
    }
}

/// Both, each once: in the order of the bytes if the upstream's are, else in the upstream's order, at the end.
pub(super) fn union(names: &[String], here: &[String]) -> Vec<String> {
    let mut all = here.to_vec();
    if names.is_sorted() {
        all.extend_from_slice(names);
        all.sort_unstable();
        all.dedup();
        return all;
    }
    let known: HashSet<_> = names.iter().collect();
    all.retain(|name| !known.contains(name));
    all.extend_from_slice(names);
    all
}

/// The first `n`, and whether more follow.
pub(super) fn cut(mut names: Vec<String>, n: usize, walk: &Walk) -> Tags {
    let more = n < names.len();
    names.truncate(n);
    let next = names.last().filter(|_| more);
    let next = next.map(|last| (last.clone(), walk.clone()));
    Tags { names, next }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walked(there: &[&str], here: &[&str], n: usize) -> Vec<Vec<String>> {
        let there: Vec<_> = there.iter().map(|name| (*name).to_owned()).collect();
        let (mut pages, mut last, mut after) = (Vec::new(), None::<String>, None::<String>);
        loop {
            let start = after.as_ref().map_or(0, |after| {
                there.iter().position(|name| name == after).unwrap() + 1
            });
            let window = &there[start..there.len().min(start + n)];
            let more = start + n < there.len();
            let here = here.iter().filter(|name| Some(**name) > last.as_deref());
            let here: Vec<_> = here.take(n + 1).map(|name| (*name).to_owned()).collect();
            let page = merged((window.to_vec(), more), &here, n, after.clone());
            assert!(page.names.len() <= n, "{page:?}");
            pages.push(page.names);
            let Some((name, Walk::Upstream(walk))) = page.next else {
                return pages;
            };
            (last, after) = (Some(name), walk);
            assert!(pages.len() < 100, "{pages:?}");
        }
    }

    #[test]
    fn no_name_is_left_out_whatever_the_order_of_the_upstream() {
        let orders: [&[&str]; 5] = [
            &[],
            &["a", "c", "e", "g", "i", "k"],
            &["k", "i", "g", "e", "c", "a"],
            &["1.0", "1.1", "1.9", "1.10", "1.11", "2.0"],
            &["e", "a", "k", "c", "z", "g"],
        ];
        for there in orders {
            let own: [&[&str]; 4] = [
                &[],
                &["b", "c", "j", "z"],
                &["0", "00", "000", "0000"],
                there,
            ];
            for here in own {
                let mut here = here.to_vec();
                here.sort_unstable();
                for n in 1..8 {
                    let pages = walked(there, &here, n);
                    let mut expected: Vec<_> = there.iter().chain(&here).copied().collect();
                    expected.sort_unstable();
                    expected.dedup();
                    let mut found = pages.concat();
                    if there.is_sorted() {
                        assert_eq!(found, expected, "{there:?} {here:?} {n}");
                    }
                    found.sort_unstable();
                    found.dedup();
                    assert_eq!(found, expected, "{there:?} {here:?} {n}");
                }
            }
        }
    }
}
