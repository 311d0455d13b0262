//! Which roles a role reaches by its memberships. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::providers::postgres::catalog::ids::Oid;

/// One membership, whoever gave it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Edge {
    /// The member may do what the role may.
    pub(super) inherits: bool,
    /// It may become the role.
    pub(super) sets: bool,
    /// It may give the membership to others, and to itself.
    pub(super) admin: bool,
}

impl Edge {
    /// Both memberships at once.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            inherits: self.inherits || other.inherits,
            sets: self.sets || other.sets,
            admin: self.admin || other.admin,
        }
    }
}

/// The memberships, by the member and then by the role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Graph(pub(super) BTreeMap<Oid, BTreeMap<Oid, Edge>>);

/// How a role is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum How {
    /// What it may do is inherited, and it can be become.
    Member,
    /// What it may do is inherited only.
    Inherits,
    /// Only by becoming it.
    Sets,
    /// What it may do is inherited only after becoming another one.
    AfterSet,
}

/// What a role reaches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reached {
    pub(super) roles: BTreeMap<Oid, How>,
    /// The roles that it may make itself a member of, by itself or by what it
    /// reaches, and that it does not reach already.
    pub(super) admin_of: BTreeSet<Oid>,
}

impl Reached {
    /// The roles whose rights it has without becoming anybody.
    pub(super) fn inherited(&self) -> impl Iterator<Item = Oid> {
        let inherited = |how: &How| matches!(how, How::Member | How::Inherits);
        self.roles.iter().filter(move |(_, how)| inherited(how)).map(|(role, _)| *role)
    }
}

impl Graph {
    /// What is reached by a role with these memberships of its own.
    pub(super) fn reached(&self, own: &BTreeMap<Oid, Edge>) -> Reached {
        let inherited = self.closure(own, |edge| edge.inherits);
        let set = self.closure(own, |edge| edge.sets);
        let mut roles = BTreeMap::new();
        for role in &set {
            let none = BTreeMap::new();
            let next = self.0.get(role).unwrap_or(&none);
            for later in self.closure(next, |edge| edge.inherits) {
                roles.insert(later, How::AfterSet);
            }
        }
        roles.extend(set.iter().map(|role| (*role, How::Sets)));
        roles.extend(
            inherited
                .iter()
                .map(|role| (*role, if set.contains(role) { How::Member } else { How::Inherits })),
        );
        let edges = roles.keys().filter_map(|role| self.0.get(role)).chain([own]);
        let admin_of = edges
            .flatten()
            .filter(|(role, edge)| edge.admin && !roles.contains_key(role))
            .map(|(role, _)| *role)
            .collect();
        Reached { roles, admin_of }
    }

    fn closure(&self, own: &BTreeMap<Oid, Edge>, leads: fn(&Edge) -> bool) -> BTreeSet<Oid> {
        let mut found = BTreeSet::new();
        let mut open: Vec<&BTreeMap<Oid, Edge>> = vec![own];
        while let Some(edges) = open.pop() {
            for (role, _) in edges.iter().filter(|(_, edge)| leads(edge)) {
                if found.insert(*role) {
                    open.extend(self.0.get(role));
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use How::{AfterSet, Inherits, Member, Sets};

    /// Reads `1>2:is 2>3:a`: member, role, and what the membership brings.
    fn graph(text: &str) -> Graph {
        let mut graph = Graph::default();
        for edge in text.split_whitespace() {
            let (member, rest) = edge.split_once('>').unwrap();
            let (role, brings) = rest.split_once(':').unwrap();
            graph.0.entry(member.parse().unwrap()).or_default().insert(
                role.parse().unwrap(),
                Edge {
                    inherits: brings.contains('i'),
                    sets: brings.contains('s'),
                    admin: brings.contains('a'),
                },
            );
        }
        graph
    }

    #[track_caller]
    fn check(edges: &str, roles: &[(Oid, How)], admin_of: &[Oid]) {
        let graph = graph(edges);
        let reached = graph.reached(&graph.0.get(&1).cloned().unwrap_or_default());
        let found: Vec<(Oid, How)> = reached.roles.into_iter().collect();
        assert_eq!(found, roles, "{edges}");
        assert_eq!(reached.admin_of.into_iter().collect::<Vec<_>>(), admin_of, "{edges}");
    }

    #[test]
    fn a_role_is_reached_by_inheriting_or_by_becoming_or_by_one_after_the_other() {
        check("", &[], &[]);
        check("1>2:is", &[(2, Member)], &[]);
        check("1>2:is 2>3:is", &[(2, Member), (3, Member)], &[]);
        check("1>2:i 2>3:s", &[(2, Inherits)], &[]);
        check("1>2:s 2>3:i", &[(2, Sets), (3, AfterSet)], &[]);
        check("1>2:s 2>3:is 3>4:i", &[(2, Sets), (3, Sets), (4, AfterSet)], &[]);
        check("1>2:is 1>3:s 3>4:i 2>4:i", &[(2, Member), (3, Sets), (4, Inherits)], &[]);
    }

    #[test]
    fn who_may_give_a_membership_to_itself_is_told_from_who_has_it() {
        check("1>2:a", &[], &[2]);
        check("1>2:is 2>3:a 3>4:is", &[(2, Member)], &[3]);
        check("1>2:isa", &[(2, Member)], &[]);
        check("1>2: 2>3:a", &[], &[]);
    }

    #[test]
    fn two_roles_that_are_members_of_each_other_end() {
        check("1>2:is 2>3:is 3>2:is", &[(2, Member), (3, Member)], &[]);
    }
}
