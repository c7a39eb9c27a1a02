package clock

import (
	"reflect"
	"slices"
	"testing"
	"time"
)

func TestEveryClockIsSetAndBecomesFaster(t *testing.T) {
	t.Parallel()
	patient := []string{"AdmissionTime", "ResolveTime", "LabelTime"}
	production, faster := reflect.ValueOf(Production()), reflect.ValueOf(Production().Faster(4))
	for field, value := range production.Fields() {
		is, becomes := value.Interface().(time.Duration), faster.FieldByName(field.Name).Interface().(time.Duration)
		want := is / 4
		if slices.Contains(patient, field.Name) {
			want = is * 4
		}
		if is <= 0 || becomes != want {
			t.Errorf("%s is %s, and %s where clocks are 4 times as fast, want %s", field.Name, is, becomes, want)
		}
	}
	if Production().Faster(1) != Production() {
		t.Error("once as fast is not the same")
	}
}
