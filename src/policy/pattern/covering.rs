use super::Pattern;
use super::segment::Segment;

impl Pattern {
    /// The whole text, if the pattern matches but one.
    pub(in crate::policy) fn literal(&self) -> Option<&str> {
        let is_literal = |segment: &Segment| matches!(segment, Segment::Literal(_));
        self.segments.iter().all(is_literal).then_some(&*self.text)
    }

    /// The leading segments that every matching text has, without the separator after them.
    pub(in crate::policy) fn prefix(&self) -> &str {
        let mut length = 0;
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => length += text.len() + 1,
                _ => break,
            }
        }
        &self.text[..length.saturating_sub(1)]
    }

    /// Whether every text matches.
    pub(in crate::policy) fn is_universal(&self) -> bool {
        matches!(&*self.segments, [Segment::Many])
    }

    /// Whether surely everything that `other` matches is matched here too. May be false where it
    /// is true.
    pub(in crate::policy) fn covers(&self, other: &Self) -> bool {
        if self.is_universal() || self == other {
            return true;
        }
        if let Some(text) = other.literal() {
            return !self.placeholders && self.matches(text, None);
        }
        let Some((Segment::Many, below)) = self.segments.split_last() else {
            return false;
        };
        below.len() < other.segments.len()
            && below
                .iter()
                .zip(&other.segments)
                .all(|(ours, theirs)| ours == theirs && !matches!(ours, Segment::Many))
            && !below.is_empty()
    }
}
