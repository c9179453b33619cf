use std::any::Any;
use std::sync::OnceLock;

/// What the capabilities keep with a connection, one value a type, each made when it is first used.
#[derive(Default)]
pub(super) struct Kept(OnceLock<Box<Value>>);

struct Value {
    value: Box<dyn Any + Send + Sync>,
    rest: Kept,
}

impl Kept {
    /// Returns the value of this type, and makes it if there is none.
    pub(super) fn get<T: Default + Send + Sync + 'static>(&self) -> &T {
        let mut kept = self;
        loop {
            let entry = kept.0.get_or_init(|| {
                Box::new(Value {
                    value: Box::<T>::default(),
                    rest: Self::default(),
                })
            });
            match entry.value.downcast_ref() {
                Some(value) => return value,
                None => kept = &entry.rest,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn there_is_one_value_of_each_type_and_it_stays() {
        let kept = Kept::default();
        *kept.get::<Mutex<u8>>().lock().unwrap() = 7;
        *kept.get::<Mutex<u16>>().lock().unwrap() = 8;
        assert_eq!(*kept.get::<Mutex<u8>>().lock().unwrap(), 7);
        assert_eq!(*kept.get::<Mutex<u16>>().lock().unwrap(), 8);
        assert_eq!(*kept.get::<Mutex<u32>>().lock().unwrap(), 0);
    }
}
