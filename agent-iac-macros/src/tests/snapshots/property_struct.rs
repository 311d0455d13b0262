#[automatically_derived]
impl ::agent_iac::resource::Property for Table {
    const SCHEMA: ::agent_iac::schema::Type = ::agent_iac::schema::Type::Struct(
        &[
            ("schema", <String as ::agent_iac::resource::Property>::SCHEMA),
            ("table", <Option<String> as ::agent_iac::resource::Property>::SCHEMA),
        ],
    );
    fn to_value(&self) -> ::agent_iac::value::Value {
        ::agent_iac::__private::map_value([
            (
                "schema",
                <String as ::agent_iac::resource::Property>::to_value(&self.schema),
            ),
            (
                "table",
                <Option<String> as ::agent_iac::resource::Property>::to_value(&self.name),
            ),
        ])
    }
    fn from_value(value: &::agent_iac::value::Value) -> ::core::option::Option<Self> {
        let entries = ::agent_iac::value::Value::as_map(value)?;
        ::core::option::Option::Some(Self {
            schema: <String as ::agent_iac::resource::Property>::from_value(
                ::agent_iac::__private::entry(entries, "schema"),
            )?,
            name: <Option<
                String,
            > as ::agent_iac::resource::Property>::from_value(
                ::agent_iac::__private::entry(entries, "table"),
            )?,
        })
    }
    fn to_node(&self) -> ::agent_iac::resource::Node {
        ::agent_iac::__private::map_node([
            (
                "schema",
                <String as ::agent_iac::resource::Property>::to_node(&self.schema),
            ),
            (
                "table",
                <Option<String> as ::agent_iac::resource::Property>::to_node(&self.name),
            ),
        ])
    }
}
