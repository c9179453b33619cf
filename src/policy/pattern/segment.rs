/// What stands between two separators.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Segment {
    Literal(Box<str>),
    One,
    Many,
    Mixed(Box<[Piece]>),
}

/// What stands in a segment that is not one of the simple ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Piece {
    Text(Box<str>),
    Star,
    PrincipalId,
    PrincipalGroup,
}

impl Segment {
    pub(super) fn mentions(&self, piece: &Piece) -> bool {
        match self {
            Self::Mixed(pieces) => pieces.contains(piece),
            _ => false,
        }
    }
}

/// The pieces of a segment; `None` if braces are around what is no placeholder.
pub(super) fn pieces(segment: &str) -> Option<Box<[Piece]>> {
    let mut pieces = Vec::new();
    let mut rest = segment;
    while let Some(at) = rest.find(['*', '{', '}']) {
        let (text, special) = rest.split_at(at);
        if !text.is_empty() {
            pieces.push(Piece::Text(text.into()));
        }
        let known = [
            ("*", Piece::Star),
            ("{principal.id}", Piece::PrincipalId),
            ("{principal.group}", Piece::PrincipalGroup),
        ];
        let found = known
            .into_iter()
            .find_map(|(word, piece)| Some((special.strip_prefix(word)?, piece)));
        let (after, piece) = found?;
        pieces.push(piece);
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.into()));
    }
    Some(pieces.into())
}
