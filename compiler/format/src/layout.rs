//! Where lines break.
//!
//! The pieces of an item are laid out as in Oppen, "Prettyprinting" (ACM TOPLAS 2 (4), 1980): a group stays
//! on its line where it fits, with what follows it up to the next place where the line may break; where not,
//! its own places break, all of them or as many as it takes, and then those of the groups within. Unlike
//! there, that next place may be in a group that follows: of two groups in a line, the second breaks first.

use npc_diagnostics::Span;

/// How many columns a line may have.
pub(crate) const WIDTH: i64 = 100;

/// Wider than any line.
const INFINITE: i64 = 1 << 24;

/// A piece of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Text of the source, and its columns.
    Text(Span, u16),
    /// A comment at the end of a line, which takes no room of it.
    Comment(Span),
    Mark(&'static str),
    /// So many spaces.
    Spaces(u16),
    /// Where the line may break, or must.
    Break(Break),
    Begin(Indent, Breaks),
    End,
}

/// A place where the line may break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Break {
    /// The spaces in its place where it does not.
    pub(crate) spaces: u8,
    /// How much further right than the group the next line begins.
    pub(crate) offset: i8,
    /// Whether it must.
    pub(crate) must: bool,
    /// Whether an empty line follows.
    pub(crate) blank: bool,
}

/// Where the lines of a group begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Indent {
    /// So much further right than those of the group around it.
    By(u8),
    /// Where the group itself does.
    Here,
}

/// Which places of a group break that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breaks {
    All,
    /// Those behind which it does not fit.
    Some,
}

/// Lays out pieces.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    sizes: Vec<i64>,
    /// The groups that are measured.
    open: Vec<Open>,
    /// Groups and breaks whose end is known but for what follows up to the next break.
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
    /// Nothing where it fits.
    breaks: Option<Breaks>,
}

impl Layout {
    /// Writes the pieces behind what is written already.
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

    /// Finds how much room each piece takes. A group takes that of all that is in it, and of what follows up
    /// to the next place where the line may break, be it in another group; a break, up to the next one of
    /// its group.
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

    /// What ended is measured up to here.
    fn settle(&mut self, total: i64) {
        for index in self.ended.drain(..) {
            if let Some(size) = self.sizes.get_mut(index) {
                *size += total;
            }
        }
    }
}
