package clock

import (
	"reflect"
	"testing"
	"time"
)

func TestEveryClockIsSetAndBecomesFaster(t *testing.T) {
	t.Parallel()
	production, faster := reflect.ValueOf(Production()), reflect.ValueOf(Production().Faster(4))
	for field, value := range production.Fields() {
		is, becomes := value.Interface().(time.Duration), faster.FieldByName(field.Name).Interface().(time.Duration)
		if is <= 0 || becomes != is/4 {
			t.Errorf("%s is %s, and 4 times as fast %s", field.Name, is, becomes)
		}
	}
	if Production().Faster(1) != Production() {
		t.Error("once as fast is not the same")
	}
}
