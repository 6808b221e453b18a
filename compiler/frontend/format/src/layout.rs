//! Line breaking.
//!
//! The pieces of an item are laid out as in Oppen, "Prettyprinting" (ACM TOPLAS 2 (4), 1980): a group stays
//! on one line if it fits together with the text up to the next possible break after it. Otherwise the breaks
//! of the group itself are taken, all of them or as few as possible, before those of nested groups. Unlike in
//! that paper, the next possible break can be inside a group that follows: of two groups on a line, the
//! second breaks first.

use npc_diagnostics::Span;

/// The maximum width of a line, in columns.
pub(crate) const WIDTH: i64 = 100;

/// A size larger than any line.
const INFINITE: i64 = 1 << 24;

/// A piece of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Text of the source, with its width in columns.
    Text(Span, u16),
    /// A comment at the end of a line. It does not count towards the line's width.
    Comment(Span),
    Mark(&'static str),
    /// A number of spaces.
    Spaces(u16),
    /// A possible or mandatory line break.
    Break(Break),
    Begin(Indent, Breaks),
    End,
}

/// A possible or mandatory line break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Break {
    /// The number of spaces if the line does not break here.
    pub(crate) spaces: u8,
    /// The indentation of the next line, relative to the group's.
    pub(crate) offset: i8,
    /// Whether the break is mandatory.
    pub(crate) must: bool,
    /// Whether an empty line follows.
    pub(crate) blank: bool,
}

/// The indentation of a group's lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Indent {
    /// Relative to the enclosing group.
    By(u8),
    /// The column where the group begins.
    Here,
}

/// The breaks of a group that are taken if the group does not fit on one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breaks {
    All,
    /// Only the breaks before a part that does not fit on the rest of the line.
    Some,
}

/// Lays out pieces.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    sizes: Vec<i64>,
    /// The groups that are being measured.
    open: Vec<Open>,
    /// The indices of finished groups and breaks that still lack the width up to the next possible break.
    ended: Vec<usize>,
    groups: Vec<Group>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Open {
    begin: Option<usize>,
    last_break: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Group {
    indent: i64,
    /// `None` if the group fits on one line.
    breaks: Option<Breaks>,
}

impl Layout {
    /// Appends the pieces to `out`.
    pub(crate) fn write(&mut self, pieces: &[Piece], source: &str, out: &mut String) {
        self.measure(pieces);
        self.groups.clear();
        let mut room = WIDTH;
        let mut spaces = 0;
        for (piece, size) in pieces.iter().zip(&self.sizes) {
            let around =
                self.groups.last().copied().unwrap_or(Group { indent: 0, breaks: Some(Breaks::All) });
            match piece {
                Piece::Text(..) | Piece::Comment(_) | Piece::Mark(_) => {
                    out.extend(std::iter::repeat_n(' ', std::mem::take(&mut spaces)));
                    match piece {
                        Piece::Mark(text) => out.push_str(text),
                        Piece::Text(span, _) => out.push_str(span.of(source)),
                        Piece::Comment(span) => out.push_str(span.of(source).trim_end()),
                        _ => {}
                    }
                    room -= size;
                }
                Piece::Spaces(count) => {
                    spaces += usize::from(*count);
                    room -= size;
                }
                Piece::Begin(indent, breaks) => {
                    let indent = match indent {
                        Indent::By(more) => around.indent + i64::from(*more),
                        Indent::Here => WIDTH - room,
                    };
                    self.groups.push(Group { indent, breaks: (*size > room).then_some(*breaks) });
                }
                Piece::End => {
                    self.groups.pop();
                }
                Piece::Break(own) => {
                    let fits = !own.must
                        && match around.breaks {
                            None => true,
                            Some(Breaks::All) => false,
                            Some(Breaks::Some) => *size <= room,
                        };
                    if fits {
                        spaces += usize::from(own.spaces);
                        room -= i64::from(own.spaces);
                    } else {
                        out.push_str(if own.blank { "\n\n" } else { "\n" });
                        let indent = (around.indent + i64::from(own.offset)).max(0);
                        spaces = usize::try_from(indent).unwrap_or(0);
                        room = WIDTH - indent;
                    }
                }
            }
        }
    }

    /// Computes the width of each piece. The width of a group includes the text after it up to the next
    /// possible break, which can be inside another group. The width of a break reaches to the next break of
    /// its own group.
    fn measure(&mut self, pieces: &[Piece]) {
        self.sizes.clear();
        self.open.clear();
        self.ended.clear();
        self.open.push(Open::default());
        let mut total = 0;
        for (index, piece) in pieces.iter().enumerate() {
            let size = match piece {
                Piece::Text(_, columns) | Piece::Spaces(columns) => i64::from(*columns),
                Piece::Mark(text) => i64::try_from(text.len()).unwrap_or(INFINITE),
                Piece::Comment(_) | Piece::End => 0,
                Piece::Begin(..) | Piece::Break(_) => -total,
            };
            self.sizes.push(size);
            match piece {
                Piece::Begin(..) => self.open.push(Open { begin: Some(index), last_break: None }),
                Piece::End => {
                    let own = self.open.pop().unwrap_or_default();
                    self.ended.extend([own.begin, own.last_break].into_iter().flatten());
                }
                Piece::Break(own) => {
                    let before = self.open.last_mut().and_then(|open| open.last_break.replace(index));
                    self.ended.extend(before);
                    self.settle(total);
                    total += if own.must { INFINITE } else { i64::from(own.spaces) };
                }
                _ => total += size,
            }
        }
        while let Some(own) = self.open.pop() {
            self.ended.extend([own.begin, own.last_break].into_iter().flatten());
        }
        self.settle(total);
    }

    /// Completes the width of the finished groups and breaks.
    fn settle(&mut self, total: i64) {
        for index in self.ended.drain(..) {
            if let Some(size) = self.sizes.get_mut(index) {
                *size += total;
            }
        }
    }
}
