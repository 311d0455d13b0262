//! Reads the texts that name objects.

use std::collections::BTreeSet;

use super::{Object, ObjectKind};

/// What is left to read of a text that names objects.
pub(in super::super) struct Words<'a>(pub(in super::super) &'a str);

impl Words<'_> {
    pub(super) fn object(mut self) -> Option<Object> {
        let (word, rest) = self.0.split_once(' ')?;
        self.0 = rest;
        let kind = ObjectKind::ALL.into_iter().find(|kind| kind.word() == word)?;
        let mut object = match kind {
            ObjectKind::LargeObject | ObjectKind::Parameter => {
                let end = self.0.find(' ').unwrap_or(self.0.len());
                let name = self.0[..end].to_owned();
                self.0 = &self.0[end..];
                Object::bare(kind, name)
            }
            _ => Object::bare(kind, self.name()?),
        };
        if self.skip(".") {
            object.schema = Some(std::mem::replace(&mut object.name, self.name()?));
        }
        if self.skip("(") {
            object.arguments = Some(self.arguments()?);
        }
        if self.skip(" (") {
            let mut columns = BTreeSet::new();
            while !self.skip(")") {
                columns.insert(self.name()?);
                self.skip(", ");
            }
            object.columns = Some(columns);
        }
        if self.skip(" in ") {
            object.database = Some(self.name()?);
        }
        self.0.is_empty().then_some(object)
    }

    /// Passes over `what`, where it stands next.
    pub(in super::super) fn skip(&mut self, what: &str) -> bool {
        let rest = self.0.strip_prefix(what);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// A name, quoted or not.
    pub(in super::super) fn name(&mut self) -> Option<String> {
        if !self.0.starts_with('"') {
            let end = self.0.find([' ', '.', '(', ',', ')']).unwrap_or(self.0.len());
            let (name, rest) = self.0.split_at(end);
            self.0 = rest;
            return (!name.is_empty()).then(|| name.to_owned());
        }
        let end = self.quoted_end()?;
        let name = self.0[1..end].replace("\"\"", "\"");
        self.0 = &self.0[end + 1..];
        Some(name)
    }

    /// Where the quote that the text begins with is closed.
    fn quoted_end(&self) -> Option<usize> {
        let mut from = 1;
        loop {
            let at = from + self.0.get(from..)?.find('"')?;
            if !self.0[at + 1..].starts_with('"') {
                return Some(at);
            }
            from = at + 2;
        }
    }

    /// Types up to the bracket that closes them: a comma or a bracket inside a
    /// quoted name or inside brackets belongs to the type.
    fn arguments(&mut self) -> Option<Vec<String>> {
        let mut arguments = Vec::new();
        let mut argument = String::new();
        let mut depth = 0_u32;
        loop {
            let c = self.0.chars().next()?;
            if c == '"' {
                let end = self.quoted_end()?;
                argument.push_str(&self.0[..=end]);
                self.0 = &self.0[end + 1..];
                continue;
            }
            if depth == 0 && (c == ')' || self.0.starts_with(", ")) {
                self.0 = &self.0[if c == ')' { 1 } else { 2 }..];
                if c == ')' && argument.is_empty() && arguments.is_empty() {
                    return Some(arguments);
                }
                arguments.push(std::mem::take(&mut argument));
                if c == ')' {
                    return Some(arguments);
                }
                continue;
            }
            match c {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            argument.push(c);
            self.0 = &self.0[c.len_utf8()..];
        }
    }
}
