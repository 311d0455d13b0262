//! The kinds of objects, and how each is called.

use super::super::name::word;
use crate::Property;

/// What kind of thing an [`Object`](super::Object) is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Property)]
pub enum ObjectKind {
    /// A table, view, materialised view, partitioned or foreign table.
    Table,
    /// A sequence.
    Sequence,
    /// A database of the cluster.
    Database,
    /// A schema.
    Schema,
    /// A function or an aggregate.
    Function,
    /// A procedure.
    Procedure,
    /// A data type or a domain.
    DataType,
    /// A procedural language.
    Language,
    /// A foreign-data wrapper.
    ForeignWrapper,
    /// A foreign server.
    ForeignServer,
    /// A tablespace.
    Tablespace,
    /// A large object; its name is its number.
    LargeObject,
    /// A parameter of the server's configuration.
    Parameter,
}

impl ObjectKind {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::Table,
        Self::Sequence,
        Self::Database,
        Self::Schema,
        Self::Function,
        Self::Procedure,
        Self::DataType,
        Self::Language,
        Self::ForeignWrapper,
        Self::ForeignServer,
        Self::Tablespace,
        Self::LargeObject,
        Self::Parameter,
    ];

    /// The words of it in a `GRANT`.
    pub const fn sql(self) -> &'static str {
        match self {
            Self::Table => "TABLE",
            Self::Sequence => "SEQUENCE",
            Self::Database => "DATABASE",
            Self::Schema => "SCHEMA",
            Self::Function => "FUNCTION",
            Self::Procedure => "PROCEDURE",
            Self::DataType => "TYPE",
            Self::Language => "LANGUAGE",
            Self::ForeignWrapper => "FOREIGN DATA WRAPPER",
            Self::ForeignServer => "FOREIGN SERVER",
            Self::Tablespace => "TABLESPACE",
            Self::LargeObject => "LARGE OBJECT",
            Self::Parameter => "PARAMETER",
        }
    }

    /// The word of it in a declaration and in texts.
    pub const fn word(self) -> &'static str {
        word::<Self>(self as usize)
    }

    /// Whether it lives in a schema.
    pub const fn in_schema(self) -> bool {
        matches!(
            self,
            Self::Table | Self::Sequence | Self::Function | Self::Procedure | Self::DataType
        )
    }

    /// Whether it belongs to the whole cluster and to no database.
    pub const fn is_shared(self) -> bool {
        matches!(self, Self::Database | Self::Tablespace | Self::Parameter)
    }

    pub(super) fn has_arguments(self) -> bool {
        matches!(self, Self::Function | Self::Procedure)
    }
}
