#[automatically_derived]
impl ::agent_iac::resource::Property for Privilege {
    const SCHEMA: ::agent_iac::schema::Type = ::agent_iac::schema::Type::Enum(
        &["select", "tmp"],
    );
    fn to_value(&self) -> ::agent_iac::value::Value {
        ::agent_iac::value::Value::from(
            match self {
                Self::Select => "select",
                Self::TemporaryTables => "tmp",
            },
        )
    }
    fn from_value(value: &::agent_iac::value::Value) -> ::core::option::Option<Self> {
        match ::agent_iac::value::Value::as_text(value)? {
            "select" => ::core::option::Option::Some(Self::Select),
            "tmp" => ::core::option::Option::Some(Self::TemporaryTables),
            _ => ::core::option::Option::None,
        }
    }
}
