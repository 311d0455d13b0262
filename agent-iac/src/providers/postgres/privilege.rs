//! Privileges, and which object has which.
//!
//! The source is the table of privileges in PostgreSQL's manual, section 5.8.

use super::{ObjectKind, name::word};
use crate::Property;

/// One privilege, as `select`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Property)]
pub enum Privilege {
    /// Read rows, columns, a sequence or a large object.
    Select,
    /// Add rows.
    Insert,
    /// Change rows, columns, a sequence or a large object.
    Update,
    /// Delete rows.
    Delete,
    /// Empty a table.
    Truncate,
    /// Refer to a table or column by a foreign key.
    References,
    /// Create triggers on a table.
    Trigger,
    /// Vacuum, analyse, lock and so on; from PostgreSQL 17.
    Maintain,
    /// Look into a schema, use a sequence, a type, a language, a server.
    Usage,
    /// Create objects in a database, a schema or a tablespace.
    Create,
    /// Connect to a database.
    Connect,
    /// Create temporary tables in a database.
    Temporary,
    /// Call a function or a procedure.
    Execute,
    /// Set a parameter in a session.
    Set,
    /// Set a parameter for the whole server.
    AlterSystem,
}

use Privilege::{
    AlterSystem, Connect, Create, Delete, Execute, Insert, Maintain, References, Select, Set,
    Temporary, Trigger, Truncate, Update, Usage,
};

impl Privilege {
    /// Every privilege.
    pub const ALL: [Self; 15] = [
        Select,
        Insert,
        Update,
        Delete,
        Truncate,
        References,
        Trigger,
        Maintain,
        Usage,
        Create,
        Connect,
        Temporary,
        Execute,
        Set,
        AlterSystem,
    ];

    /// The words of it in SQL, as `aclexplode` gives them too.
    pub const fn sql(self) -> &'static str {
        match self {
            Select => "SELECT",
            Insert => "INSERT",
            Update => "UPDATE",
            Delete => "DELETE",
            Truncate => "TRUNCATE",
            References => "REFERENCES",
            Trigger => "TRIGGER",
            Maintain => "MAINTAIN",
            Usage => "USAGE",
            Create => "CREATE",
            Connect => "CONNECT",
            Temporary => "TEMPORARY",
            Execute => "EXECUTE",
            Set => "SET",
            AlterSystem => "ALTER SYSTEM",
        }
    }

    /// Reads the words back.
    pub fn from_sql(words: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|privilege| privilege.sql() == words)
    }

    /// The word of it in a declaration and in access.
    pub const fn word(self) -> &'static str {
        word::<Self>(self as usize)
    }
}

impl ObjectKind {
    /// The privileges that there are on objects of this kind, by the newest
    /// version.
    pub const fn privileges(self) -> &'static [Privilege] {
        match self {
            Self::Table => {
                &[Select, Insert, Update, Delete, Truncate, References, Trigger, Maintain]
            }
            Self::Sequence => &[Usage, Select, Update],
            Self::Database => &[Create, Connect, Temporary],
            Self::Schema => &[Create, Usage],
            Self::Function | Self::Procedure => &[Execute],
            Self::DataType | Self::Language | Self::ForeignWrapper | Self::ForeignServer => {
                &[Usage]
            }
            Self::Tablespace => &[Create],
            Self::LargeObject => &[Select, Update],
            Self::Parameter => &[Set, AlterSystem],
        }
    }

    /// The privileges that there are on a column.
    pub const COLUMN_PRIVILEGES: &'static [Privilege] = &[Select, Insert, Update, References];

    /// What PUBLIC may do to a new object of this kind unless somebody takes
    /// it away.
    pub const fn of_public(self) -> &'static [Privilege] {
        match self {
            Self::Database => &[Connect, Temporary],
            Self::Function | Self::Procedure => &[Execute],
            Self::DataType | Self::Language => &[Usage],
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_privilege_is_read_back_from_its_words() {
        for privilege in Privilege::ALL {
            assert_eq!(Privilege::from_sql(privilege.sql()), Some(privilege));
            assert_eq!(
                crate::resource::Property::to_value(&privilege).as_text(),
                Some(privilege.word())
            );
        }
        assert_eq!(Privilege::from_sql("select"), None);
    }

    #[test]
    fn public_is_given_only_what_there_is_on_a_kind() {
        for kind in ObjectKind::ALL {
            assert!(kind.of_public().iter().all(|p| kind.privileges().contains(p)), "{kind:?}");
        }
    }
}
