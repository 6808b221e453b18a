//! What changed in the tables, in the order in which it must be written.

/// One thing that changed. What leads to something is written after what it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A branch of the trie is new: all of it.
    NewBranch {
        /// Its number.
        number: u32,
    },
    /// A comparison of the trie.
    Compare {
        /// Its number.
        number: u32,
    },
    /// One cell of a branch.
    Branch {
        /// The branch.
        number: u32,
        /// The cell.
        cell: u8,
    },
    /// A decision list is new, or has new columns: all of it.
    List {
        /// Its number.
        number: u32,
    },
    /// The cell of a row.
    Cell {
        /// The row.
        row: u32,
        /// The peer class.
        class: u32,
    },
    /// A row is new: all of it.
    Row {
        /// Its number.
        number: u32,
    },
    /// The class of a port.
    Port {
        /// The protocol, as [`npc_image::Protocol`] numbers it.
        protocol: u8,
        /// The port.
        port: u16,
    },
    /// What decides for a local pod; the place is its number.
    Endpoint {
        /// The pod's number.
        pod: u32,
    },
}
