//! The rows of all groups, in one IP family.

use npc_vocabulary::Direction;

use crate::groups::Groups;
use crate::rows::{Row, RowId, Rows};
use crate::set::GroupSet;
use crate::traffic::{SetId, Sets};

/// What is allowed between two groups: a set of traffic for each family that both have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Allowed {
    pub(crate) v4: Option<SetId>,
    pub(crate) v6: Option<SetId>,
}

/// The rows of all groups, in one family.
pub(crate) struct FamilyRows<'e, 'a, S> {
    pub(crate) rows: Rows<'e, 'a, S>,
    /// The egress row and the ingress row of each group that has the family.
    of: Vec<Option<(RowId, RowId)>>,
    /// The groups of pods.
    pub(crate) pods: S,
}

impl<'e, 'a, S: GroupSet> FamilyRows<'e, 'a, S> {
    pub(crate) fn new(mut rows: Rows<'e, 'a, S>, groups: &'e Groups, traffic: &mut Sets) -> Self {
        let mut pods = S::default();
        let mut of = Vec::with_capacity(groups.list.len());
        for (index, group) in (0..).zip(&groups.list) {
            if !rows.all.contains(index) {
                of.push(None);
                continue;
            }
            if !group.pods.is_empty() {
                pods.insert(index);
            }
            let egress = rows.row(traffic, group, Direction::Egress);
            let ingress = rows.row(traffic, group, Direction::Ingress);
            of.push(Some((egress, ingress)));
        }
        Self { rows, of, pods }
    }

    pub(crate) fn of_group(&self, group: u32) -> Option<(RowId, RowId)> {
        self.of.get(group as usize).copied().flatten()
    }

    pub(crate) fn row(&self, id: RowId) -> &[(SetId, S)] {
        self.rows.list.get(id).map_or(&[], Row::as_slice)
    }
}
