/// The offset of the first byte of each line of a text.
pub(crate) struct Lines(Vec<usize>);

impl Lines {
    pub(crate) fn of(text: &str) -> Self {
        let ends = text.match_indices('\n').map(|(end, _)| end + 1);
        Self(std::iter::once(0).chain(ends).collect())
    }

    /// Line and column of this byte of the same text, from 1; the column in characters.
    pub(crate) fn position(&self, text: &str, offset: usize) -> (usize, usize) {
        let line = self.0.partition_point(|&begins| begins <= offset);
        let begins = self.0[line.saturating_sub(1)];
        let before = text.get(begins..offset).unwrap_or_default();
        (line, before.chars().count() + 1)
    }
}
