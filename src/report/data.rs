//! CSV and JSON: full precision, and keys that end in the unit.
//!
//! A column of estimates becomes three in CSV (`kl_mean_nats`, `kl_mean_low_nats`,
//! `kl_mean_high_nats`) and an object in JSON. In CSV the document's facts are repeated in every
//! row, so that files of several runs can be put together.

use serde_json::{Map, Value as Json, json};

use super::{Column, Document, Table, Unit, Value};
use crate::error::{Error, Result};
use crate::stats::Interval;

/// The key of the column with the cause, in rows that failed.
const FAILURE: &str = "failure";

/// Tables are separated by an empty line; a single table is a plain CSV file.
pub(super) fn csv(document: &Document) -> Result<String> {
    let tables: Result<Vec<String>> =
        document.tables.iter().map(|table| table_csv(document, table)).collect();
    Ok(tables?.join("\n"))
}

fn table_csv(document: &Document, table: &Table) -> Result<String> {
    let bug = |e: csv::Error| Error::bug("cannot write CSV").because(e);
    let mut writer = csv::Writer::from_writer(Vec::new());
    let columns = table.columns.iter().flat_map(csv_keys);
    let facts = document.facts.iter().map(|fact| key(&fact.key, "", fact.unit));
    writer.write_record(columns.chain([FAILURE.to_owned()]).chain(facts)).map_err(bug)?;
    for row in &table.rows {
        let values = table.columns.iter().enumerate().flat_map(|(at, column)| {
            csv_values(row.get(at).unwrap_or(&Value::Empty), column.has_interval)
        });
        let facts = document.facts.iter().map(|fact| plain(&fact.value));
        writer.write_record(values.chain([failure(row).to_owned()]).chain(facts)).map_err(bug)?;
    }
    let bytes = writer.into_inner().map_err(|e| bug(e.into_error().into()))?;
    String::from_utf8(bytes).map_err(|e| Error::bug("CSV is not UTF-8").because(e))
}

fn csv_keys(column: &Column) -> Vec<String> {
    let ends: &[&str] = if column.has_interval { &["", "_low", "_high"] } else { &[""] };
    ends.iter().map(|end| key(&column.key, end, column.unit)).collect()
}

fn csv_values(value: &Value, has_interval: bool) -> Vec<String> {
    let mut values = vec![plain(value)];
    if has_interval {
        let interval = match value {
            Value::Estimate(estimate) => estimate.interval,
            _ => None,
        };
        let end = |end: fn(Interval) -> f64| interval.map_or(String::new(), |i| number(end(i)));
        values.extend([end(|i| i.low), end(|i| i.high)]);
    }
    values
}

fn plain(value: &Value) -> String {
    match value {
        Value::Empty | Value::Struck(..) | Value::Failed(_) => String::new(),
        Value::Text(text) | Value::Hash(text) => text.clone(),
        Value::Count(count) => count.to_string(),
        Value::Number(value) => number(*value),
        Value::Estimate(estimate) => number(estimate.point),
    }
}

/// The shortest text that reads back as the same number.
fn number(value: f64) -> String {
    if value.is_finite() { json!(value).to_string() } else { String::new() }
}

fn failure(row: &[Value]) -> &str {
    let cause = row.iter().find_map(|value| match value {
        Value::Failed(cause) | Value::Struck(_, cause) => Some(cause.as_str()),
        _ => None,
    });
    cause.unwrap_or_default()
}

/// A name in data formats; the unit comes last.
fn key(stem: &str, end: &str, unit: Unit) -> String {
    let suffix = match unit {
        Unit::None => "",
        Unit::Bytes => "_bytes",
        Unit::BitsPerWeight => "_bits_per_weight",
        Unit::Nats => "_nats",
        Unit::BitsPerByte => "_bits_per_byte",
        Unit::Ratio => "_ratio",
        Unit::Share => "_share",
        Unit::Millis => "_ms",
        Unit::TokensPerSecond => "_tokens_per_s",
    };
    format!("{stem}{end}{suffix}")
}

pub(super) fn json(document: &Document) -> Result<String> {
    let facts: Map<String, Json> = document
        .facts
        .iter()
        .map(|fact| (key(&fact.key, "", fact.unit), json_value(&fact.value)))
        .collect();
    let tables: Vec<Json> = document.tables.iter().map(table_json).collect();
    let figures = document.figures.iter().map(|figure| table_json(&figure.table()));
    let whole = json!({
        "title": document.title,
        "facts": facts,
        "warnings": document.warnings,
        "tables": tables,
        "figures": figures.collect::<Vec<Json>>(),
        "notes": document.notes,
    });
    let text = serde_json::to_string_pretty(&whole)
        .map_err(|e| Error::bug("cannot write JSON").because(e))?;
    Ok(text + "\n")
}

fn table_json(table: &Table) -> Json {
    let rows: Vec<Json> = table
        .rows
        .iter()
        .map(|row| {
            let mut object: Map<String, Json> = Map::new();
            for (at, column) in table.columns.iter().enumerate() {
                let value = row.get(at).unwrap_or(&Value::Empty);
                object.insert(key(&column.key, "", column.unit), json_value(value));
            }
            if !failure(row).is_empty() {
                object.insert(FAILURE.to_owned(), json!(failure(row)));
            }
            Json::Object(object)
        })
        .collect();
    json!({ "title": table.title, "rows": rows, "notes": table.notes })
}

fn json_value(value: &Value) -> Json {
    match value {
        Value::Empty | Value::Struck(..) | Value::Failed(_) => Json::Null,
        Value::Text(text) | Value::Hash(text) => json!(text),
        Value::Count(count) => json!(count),
        Value::Number(number) => json!(number),
        Value::Estimate(estimate) => json!({
            "point": estimate.point,
            "low": estimate.interval.map(|i| i.low),
            "high": estimate.interval.map(|i| i.high),
            "level": estimate.interval.map(|i| i.level),
            "n": estimate.n,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{document, short_document};
    use super::*;

    #[test]
    fn a_summary_as_csv() {
        insta::assert_snapshot!(csv(&document()).unwrap(), @r#"
        variant,blocks_bits_per_weight,file_bits_per_weight,size_bytes,perplexity,perplexity_low,perplexity_high,perplexity_ratio,perplexity_low_ratio,perplexity_high_ratio,kl_mean_nats,kl_mean_low_nats,kl_mean_high_nats,kl_median_nats,kl_p99_nats,top1_agreement_share,top1_agreement_low_share,top1_agreement_high_share,nll_bits_per_byte,nll_low_bits_per_byte,nll_high_bits_per_byte,failure,model,architecture,parameters,layers,vocabulary,model_hash,tokenizer_hash,protocol,window_tokens,stride_tokens,bos,windows,scored_tokens,text,text_bytes,text_hash,seed,evalkit_version,numeric_version,machine,device,binary_hash
        fp,16.0,16.0,2200000,8.875843147048197,8.303413262108606,9.435172337735711,,,,,,,,,,,,0.7874710431518925,0.7634261258037431,0.8095122173876962,,tiny-stories,LlamaForCausalLM,1100000,2,512,3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a,5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c,full,101,101,none,12,1200,stories | held out,4800,7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e,7,0.1.0,1,"some processor, linux",cpu,9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b
        palette4,4.008,5.098181818181819,701000,8.964299797578864,8.383370154039993,9.532115408723044,1.0099659997439323,1.0096294005136726,1.0102746476182112,0.009583333345168891,0.007916666659078328,0.01111111117357427,0.008888889104127884,0.02666666731238365,1.0,1.0,1.0,0.7910477246074298,0.7668825826725396,0.8131991047144125,,tiny-stories,LlamaForCausalLM,1100000,2,512,3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a,5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c,full,101,101,none,12,1200,stories | held out,4800,7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e,7,0.1.0,1,"some processor, linux",cpu,9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b
        palette1-c,1.0,2.3636363636363638,325000,,,,,,,,,,,,,,,,,,"logits are not finite in layer 1, window 0; keep the embedding at 4 bits",tiny-stories,LlamaForCausalLM,1100000,2,512,3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a,5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c,full,101,101,none,12,1200,stories | held out,4800,7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e,7,0.1.0,1,"some processor, linux",cpu,9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b
        palette2-g16,2.24,3.4909090909090907,480000,11.951219618954996,11.069202102560153,12.821341806525545,1.3464883753527754,1.3330905921632026,1.358887929926509,0.28750000428408384,0.2375000041599075,0.3333333393885816,0.2666666805744171,0.800000011920929,0.7675,0.75,0.785,0.8947714868180092,0.8671198318676374,0.9201188371891835,,tiny-stories,LlamaForCausalLM,1100000,2,512,3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a,5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c,full,101,101,none,12,1200,stories | held out,4800,7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e,7,0.1.0,1,"some processor, linux",cpu,9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b9b
        "#);
    }

    #[test]
    fn a_summary_as_json() {
        let mut document = short_document();
        document.notes.clear();
        document.tables[0].columns.truncate(7);
        insta::assert_snapshot!(json(&document).unwrap());
    }

    #[test]
    fn every_csv_row_has_as_many_fields_as_the_head() {
        let text = csv(&document()).unwrap();
        let mut reader = ::csv::Reader::from_reader(text.as_bytes());
        let mut names: Vec<String> = reader.headers().unwrap().iter().map(Into::into).collect();
        assert_eq!(reader.records().filter_map(Result::ok).count(), 4);
        let columns = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), columns, "two columns share a name");
    }

    #[test]
    fn a_number_that_is_not_finite_is_left_empty() {
        assert_eq!(number(f64::INFINITY), "");
        assert_eq!(json_value(&Value::Number(f64::NAN)), Json::Null);
    }
}
