//! Maps, and what holds them, as JSON: a map is an object, a sequence an array, an optional its value or null.
//!
//! Guarantees: what is written reads back equal. Keys that are integers are written as texts, because JSON has no others, and
//! numbers that are not finite as the texts "NaN", "inf" and "-inf". Deliberately absent: tensors.

use planc_plan::program::{Level, PackedType};
use planc_tensor::{DType, Map, Tensor, Value};
use serde::ser::{Error, Serialize, SerializeMap, Serializer};
use serde_json::Value as Json;

/// The text of a value that holds maps.
///
/// # Errors
/// When it holds tensors.
pub fn write(value: &Value) -> Result<Vec<u8>, String> {
    let mut text = serde_json::to_vec_pretty(&Written(value)).map_err(|e| e.to_string())?;
    text.push(b'\n');
    Ok(text)
}

struct Written<'v>(&'v Value);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Tensor(_) => Err(S::Error::custom("a tensor is no map")),
            Value::Sequence(list) => s.collect_seq(list.iter().map(Written)),
            Value::Optional(None) => s.serialize_none(),
            Value::Optional(Some(v)) => Written(v).serialize(s),
            Value::Map(map) => {
                let (keys, values) = (map.keys().view(), map.values().view());
                let mut object = s.serialize_map(Some(map.len()))?;
                for i in 0..map.len() {
                    match keys.as_slice::<i64>() {
                        Some(numbers) => object.serialize_key(&numbers[i].to_string())?,
                        None => object.serialize_key(&keys.as_strings()[i])?,
                    }
                    let (singles, doubles) = (values.as_slice::<f32>(), values.as_slice::<f64>());
                    match (singles.map(|v| v[i]), doubles.map(|v| v[i]), values.as_slice::<i64>()) {
                        (Some(v), ..) if v.is_finite() => object.serialize_value(&v)?,
                        (Some(v), ..) => object.serialize_value(&v.to_string())?,
                        (_, Some(v), _) if v.is_finite() => object.serialize_value(&v)?,
                        (_, Some(v), _) => object.serialize_value(&v.to_string())?,
                        (.., Some(numbers)) => object.serialize_value(&numbers[i])?,
                        _ => object.serialize_value(&values.as_strings()[i])?,
                    }
                }
                object.end()
            }
        }
    }
}

/// The value of type `ty` that `bytes` write.
///
/// # Errors
/// When they are no JSON, or of another type.
pub fn read(ty: &PackedType, bytes: &[u8]) -> Result<Value, String> {
    let json: Json = serde_json::from_slice(bytes).map_err(|e| format!("it is not JSON: {e}"))?;
    value(&ty.levels, ty.dtype, &json)
}

fn value(levels: &[Level], dtype: DType, json: &Json) -> Result<Value, String> {
    match (levels, json) {
        ([Level::Sequence, inner @ ..], Json::Array(list)) => {
            list.iter().map(|j| value(inner, dtype, j)).collect::<Result<_, _>>().map(Value::Sequence)
        }
        ([Level::Optional, ..], Json::Null) => Ok(Value::Optional(None)),
        ([Level::Optional, inner @ ..], json) => Ok(Value::Optional(Some(Box::new(value(inner, dtype, json)?)))),
        ([Level::Map(key)], Json::Object(object)) => {
            let text = |e: planc_tensor::TensorError| e.to_string();
            let keys = match key {
                DType::String => {
                    Tensor::from_strings([object.len()], object.keys().cloned().collect()).map_err(text)?
                }
                _ => {
                    let number = |k: &String| k.parse::<i64>().map_err(|_| format!("the key {k:?} is not an integer"));
                    Tensor::vector(object.keys().map(number).collect::<Result<Vec<_>, _>>()?)
                }
            };
            let wrong = |j: &Json| format!("the value {j} is not of type {dtype}");
            let float = |j: &Json| match j {
                Json::String(s) => s.parse::<f64>().map_err(|_| wrong(j)),
                _ => j.as_f64().ok_or_else(|| wrong(j)),
            };
            let all = object.values();
            let values = match dtype {
                DType::F32 => Tensor::vector(all.map(|j| float(j).map(|v| v as f32)).collect::<Result<Vec<_>, _>>()?),
                DType::F64 => Tensor::vector(all.map(float).collect::<Result<Vec<_>, _>>()?),
                DType::I64 => {
                    Tensor::vector(all.map(|j| j.as_i64().ok_or_else(|| wrong(j))).collect::<Result<Vec<_>, _>>()?)
                }
                _ => {
                    let string = |j: &Json| j.as_str().map(str::to_owned).ok_or_else(|| wrong(j));
                    Tensor::from_strings([object.len()], all.map(string).collect::<Result<_, _>>()?).map_err(text)?
                }
            };
            Map::new(&keys, &values).map(Value::Map).map_err(|e| e.to_string())
        }
        _ => {
            let rest = PackedType { levels: levels.to_vec(), dtype };
            Err(format!("{} is no {rest}", json.to_string().chars().take(40).collect::<String>()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ty(levels: &[Level], dtype: DType) -> PackedType {
        PackedType { levels: levels.to_vec(), dtype }
    }

    fn map(keys: &Tensor, values: &Tensor) -> Value {
        Value::Map(Map::new(keys, values).unwrap())
    }

    #[test]
    fn what_is_written_reads_back() {
        let texts = Tensor::from_strings([2], vec!["a\"".into(), String::new()]).unwrap();
        let numbers = Tensor::vector(vec![-2i64, i64::MAX]);
        let by = |k| ty(&[Level::Map(k)], DType::F32);
        let floats = Tensor::vector(vec![0.1f32, f32::NEG_INFINITY]);
        let one = map(&texts, &floats);
        assert_eq!(String::from_utf8(write(&one).unwrap()).unwrap(), "{\n  \"\": \"-inf\",\n  \"a\\\"\": 0.1\n}\n");
        let list = Value::Sequence(vec![
            one.clone(),
            Value::Map(
                Map::new(&Tensor::from_strings([0], vec![]).unwrap(), &Tensor::vector(Vec::<f32>::new())).unwrap(),
            ),
        ]);
        for (ty, value) in [
            (by(DType::String), one.clone()),
            (by(DType::I64), map(&numbers, &floats)),
            (ty(&[Level::Map(DType::I64)], DType::I64), map(&numbers, &numbers)),
            (ty(&[Level::Map(DType::I64)], DType::F64), map(&numbers, &Tensor::vector(vec![1e300, 0.1]))),
            (ty(&[Level::Map(DType::I64)], DType::String), map(&numbers, &texts)),
            (ty(&[Level::Sequence, Level::Map(DType::String)], DType::F32), list),
            (ty(&[Level::Optional, Level::Map(DType::String)], DType::F32), Value::Optional(Some(Box::new(one)))),
            (ty(&[Level::Optional, Level::Map(DType::String)], DType::F32), Value::Optional(None)),
        ] {
            assert_eq!(read(&ty, &write(&value).unwrap()), Ok(value));
        }
    }

    #[test]
    fn other_values_are_refused() {
        let message = |text: &str| read(&ty(&[Level::Map(DType::I64)], DType::I64), text.as_bytes()).unwrap_err();
        assert!(message("{").starts_with("it is not JSON"));
        assert_eq!(message("[]"), "[] is no map(i64,i64)");
        assert_eq!(message("{\"a\": 1}"), "the key \"a\" is not an integer");
        assert_eq!(message("{\"1\": 1.5}"), "the value 1.5 is not of type i64");
        assert_eq!(message("{\"1\": 1, \"01\": 2}"), "the key 1 is there twice");
        assert!(write(&Value::Tensor(Tensor::scalar(1f32))).is_err());
    }
}
