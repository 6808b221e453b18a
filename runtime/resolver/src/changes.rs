//! Changes of the tables, in the order in which they must be written.

/// A changed part of the tables. A reference is always written after the part that it refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new branch of the trie, to be written completely.
    NewBranch {
        /// Its number.
        number: u32,
    },
    /// A new comparison of the trie.
    Compare {
        /// Its number.
        number: u32,
    },
    /// One cell of a branch.
    Branch {
        /// The branch's number.
        number: u32,
        /// The index of the cell.
        cell: u8,
    },
    /// A decision list that is new or has new columns, to be written completely.
    List {
        /// Its number.
        number: u32,
    },
    /// One cell of a row.
    Cell {
        /// The row's number.
        row: u32,
        /// The peer class.
        class: u32,
    },
    /// A new row, to be written completely.
    Row {
        /// Its number.
        number: u32,
    },
    /// The column of a port.
    Port {
        /// The protocol, as the number of a [`npc_vocabulary::Protocol`].
        protocol: u8,
        /// The port.
        port: u16,
    },
    /// The rows and addresses of a local pod.
    Endpoint {
        /// The pod's number.
        pod: u32,
    },
}
