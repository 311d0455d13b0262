//! `graph`: what depends on what.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::Cx;
use crate::{
    blueprint::Blueprint,
    cli::{
        Outcome,
        args::{self, GraphFormat},
    },
    plan::render::{inert, printable, put},
};

/// Above so many edges Mermaid draws nothing that can be read, and soon
/// nothing at all: then whole agents are drawn.
const MERMAID: usize = 200;

/// Names and the kind of each, and which needs which.
#[derive(Default)]
struct Drawing {
    nodes: BTreeMap<String, String>,
    edges: BTreeSet<(String, String)>,
}

pub(super) fn graph(cx: &Cx<'_>, args: &args::Graph) -> Outcome {
    let blueprint = match cx.deployment.blueprint() {
        Ok(blueprint) => blueprint,
        Err(mistakes) => return Outcome::Invalid(mistakes),
    };
    let drawing = resources(&blueprint);
    cx.ui.event("graph", drawing.json());
    cx.ui.summarise(json!({ "nodes": drawing.nodes.len(), "edges": drawing.edges.len() }));
    if !cx.ui.is_json() {
        cx.ui.print_raw(&match args.format {
            GraphFormat::Dot => drawing.dot(),
            GraphFormat::Mermaid if drawing.edges.len() > MERMAID => format!(
                "%% {} edges are more than can be drawn: these are whole agents\n{}",
                drawing.edges.len(),
                agents(&blueprint).mermaid()
            ),
            GraphFormat::Mermaid => drawing.mermaid(),
            GraphFormat::Json => format!("{}\n", inert(drawing.json().to_string().as_bytes())),
        });
    }
    Outcome::Done
}

fn resources(blueprint: &Blueprint) -> Drawing {
    let mut drawing = Drawing::default();
    for (address, desired) in blueprint.resources() {
        drawing.nodes.insert(address.to_string(), desired.resource_type.name.to_owned());
        drawing.edges.extend(
            desired.dependencies.iter().map(|needed| (address.to_string(), needed.to_string())),
        );
    }
    drawing
}

fn agents(blueprint: &Blueprint) -> Drawing {
    let mut drawing = Drawing::default();
    for (address, desired) in blueprint.resources() {
        let own = address.instance().to_string();
        for needed in &desired.dependencies {
            let other = needed.instance().to_string();
            if other != own {
                drawing.edges.insert((own.clone(), other));
            }
        }
        drawing.nodes.insert(own, "agent".into());
    }
    drawing
}

impl Drawing {
    fn json(&self) -> serde_json::Value {
        let nodes: Vec<_> =
            self.nodes.iter().map(|(name, kind)| json!({ "name": name, "type": kind })).collect();
        let edges: Vec<_> =
            self.edges.iter().map(|(from, to)| json!({ "from": from, "needs": to })).collect();
        json!({ "format": 1, "nodes": nodes, "edges": edges })
    }

    fn dot(&self) -> String {
        let quoted = |text: &str| {
            format!("\"{}\"", printable(text).replace('\\', "\\\\").replace('"', "\\\""))
        };
        let mut text = String::from("digraph fleet {\n  rankdir = LR;\n  node [shape = box];\n");
        for (name, kind) in &self.nodes {
            // Joined from strings of their own: no name can end its string.
            put(
                &mut text,
                format_args!(
                    "  {} [label = {} + \"\\n\" + {}];\n",
                    quoted(name),
                    quoted(name),
                    quoted(kind)
                ),
            );
        }
        for (from, to) in &self.edges {
            put(&mut text, format_args!("  {} -> {};\n", quoted(from), quoted(to)));
        }
        text.push_str("}\n");
        text
    }

    fn mermaid(&self) -> String {
        // In a label every character that is not plain is given by its number.
        let label = |text: &str| {
            let mut shown = String::new();
            for c in printable(text).chars() {
                if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ' ') {
                    shown.push(c);
                } else {
                    put(&mut shown, format_args!("#{};", u32::from(c)));
                }
            }
            shown
        };
        let number: BTreeMap<&String, usize> = self.nodes.keys().zip(0..).collect();
        let mut text = String::from("flowchart LR\n");
        for (name, kind) in &self.nodes {
            put(
                &mut text,
                format_args!("  n{}[\"{}<br>{}\"]\n", number[name], label(name), label(kind)),
            );
        }
        for (from, to) in &self.edges {
            if let (Some(from), Some(to)) = (number.get(from), number.get(to)) {
                put(&mut text, format_args!("  n{from} --> n{to}\n"));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn drawing() -> Drawing {
        Drawing {
            nodes: BTreeMap::from([
                (r#"a["x\"];<b>"].key"#.into(), "t.key".into()),
                ("b.account".into(), "t.account".into()),
            ]),
            edges: BTreeSet::from([(r#"a["x\"];<b>"].key"#.into(), "b.account".into())]),
        }
    }

    #[test]
    fn hostile_names_stay_labels_in_dot_and_mermaid() {
        expect![[r#"
            digraph fleet {
              rankdir = LR;
              node [shape = box];
              "a[\"x\\\"];<b>\"].key" [label = "a[\"x\\\"];<b>\"].key" + "\n" + "t.key"];
              "b.account" [label = "b.account" + "\n" + "t.account"];
              "a[\"x\\\"];<b>\"].key" -> "b.account";
            }
        "#]]
        .assert_eq(&drawing().dot());
        expect![[r#"
            flowchart LR
              n0["a#91;#34;x#92;#34;#93;#59;#60;b#62;#34;#93;.key<br>t.key"]
              n1["b.account<br>t.account"]
              n0 --> n1
        "#]]
        .assert_eq(&drawing().mermaid());
    }
}
