package server_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

const shown = `[{"name":"Ausweis","locale":"de","description":"D","logo":{"uri":"https://a.example/l.png","alt":"A"},"backgroundColor":"#12107c","textColor":"#fff"},{"name":"Card"}]`

// What a template is made with is shown as it was asked for.
func TestTemplateKeepsDisplayValidityAndRevocability(t *testing.T) {
	w := newWorld(t)
	made := w.post("/templates/credentials", `{"name":"Card","code":"Card","attributes":{"a":{"type":"string"}},"validFor":3600,"revocable":true,"display":`+shown+`}`).want(201)
	var got, want any
	display, _ := json.Marshal(made.data()["display"])
	json.Unmarshal(display, &got)
	json.Unmarshal([]byte(shown), &want)
	if fmt.Sprint(got) != fmt.Sprint(want) || made.data()["validFor"] != 3600.0 || made.data()["revocable"] != true {
		t.Errorf("made %s", made.text)
	}
	plain := w.get("/templates/credentials/" + w.template("Plain")).data()
	if display, _ := plain["display"].([]any); display == nil || len(display) != 0 || plain["validFor"] != nil || plain["revocable"] != false {
		t.Errorf("plain %v", plain)
	}
	credential := w.post("/credentials/issuance", `{"credentialTemplateId":"`+made.data()["id"].(string)+`","attributes":{"a":"A"}}`).want(201).data()["credentials"].([]any)[0]
	if credential.(map[string]any)["revocable"] != true {
		t.Errorf("credential %v", credential)
	}
}

// A patch changes what it names and nothing else.
func TestTemplatePatch(t *testing.T) {
	w := newWorld(t)
	id := w.template("Card")
	before := w.get("/templates/credentials/" + id).data()
	w.clock.advance(time.Minute)
	patch := func(body string) answer { return w.request("PATCH", "/templates/credentials/"+id, body) }
	after := patch(`{"name":"Pass","description":"D","display":` + shown + `}`).want(200)
	if read := w.get("/templates/credentials/" + id); read.text != after.text {
		t.Errorf("read %s, patched %s", read.text, after.text)
	}
	data := after.data()
	if data["name"] != "Pass" || data["description"] != "D" || len(data["display"].([]any)) != 2 || data["updatedAt"] != "2026-03-01T12:01:00.000Z" {
		t.Errorf("after %v", data)
	}
	for _, same := range []string{"id", "code", "type", "createdAt", "attributes", "validFor", "revocable", "archivedAt"} {
		if fmt.Sprint(data[same]) != fmt.Sprint(before[same]) {
			t.Errorf("%s changed from %v to %v", same, before[same], data[same])
		}
	}
	if data := patch(`{"description":null,"display":null}`).want(200).data(); data["name"] != "Pass" || data["description"] != "" || len(data["display"].([]any)) != 0 {
		t.Errorf("with null %v", data)
	}
	for body, at := range map[string]string{
		`{"name":null}`: "/name", `{"name":" "}`: "/name", `{"code":"B"}`: "/code", `{"validFor":60}`: "/validFor", `{"attributes":{}}`: "/attributes",
		`{"display":[{"locale":"de"}]}`: "/display/0/name", `{"display":[{"name":"A","logo":{"uri":"http://a.example/"}}]}`: "/display/0/logo/uri",
		`{"display":[{"name":"A"},{"name":"B","locale":"EN"}]}`: "/display/1/locale",
	} {
		patch(body).refused(400, "VALIDATION_ERROR", at)
	}
	if actions := w.get("/audit").items(); actions[0]["action"] != "template.updated" || actions[0]["object"] != id || actions[1]["detail"] != "name description display" {
		t.Errorf("audit %v", actions[:2])
	}
}

// Nothing is issued from an archived template; what was offered stays, and it can
// come back.
func TestTemplateArchive(t *testing.T) {
	w := newWorld(t)
	id := w.template("Card")
	issued := w.issuance(id)
	first := w.post("/templates/credentials/"+id+"/archive", "").want(200)
	w.clock.advance(time.Minute)
	if again := w.post("/templates/credentials/"+id+"/archive", "").want(200); first.data()["archivedAt"] != "2026-03-01T12:00:00.000Z" || again.text != first.text {
		t.Errorf("archived %s, again %s", first.text, again.text)
	}
	offer := `{"credentialTemplateId":"` + id + `","attributes":{"given_name":"A"}}`
	if a := w.post("/credentials/issuance", offer).refused(400, "VALIDATION_ERROR", "/credentialTemplateId"); !strings.Contains(a.detail(), "archived") {
		t.Errorf("detail %q", a.detail())
	}
	if status := w.get("/credentials/" + issued).data()["status"]; status != "offered" {
		t.Errorf("the issuance from before is %v", status)
	}
	for query, want := range map[string]int{"true": 1, "false": 0} {
		if got := w.get("/templates/credentials?filter[archived]=" + query).items(); len(got) != want {
			t.Errorf("archived=%s lists %d", query, len(got))
		}
	}
	w.post("/templates/credentials", `{"name":"N","code":"Card","attributes":{"a":{"type":"string"}}}`).refused(409, "CONFLICT", "/code")
	if back := w.post("/templates/credentials/"+id+"/unarchive", "").want(200).data(); back["archivedAt"] != nil {
		t.Errorf("back %v", back)
	}
	w.post("/credentials/issuance", offer).want(201)
}

// Every order gives each template once, page by page in both directions, also
// where many are equal in it, and updates meanwhile hide none from updatedAt.
func TestTemplateOrders(t *testing.T) {
	w := newWorld(t)
	made := map[string]string{} // id → name
	for i, name := range []string{"beta", "Alpha", "Öl", "alpha", "BETA", "alpha", "öl"} {
		if i%2 == 0 {
			w.clock.advance(time.Second)
		}
		body := fmt.Sprintf(`{"name":%q,"code":"T%d","attributes":{"a":{"type":"string"}}}`, name, i)
		made[w.post("/templates/credentials", body).want(201).data()["id"].(string)] = name
	}
	path := "/me-creds/api/templates/credentials?sort="
	for _, order := range []string{"createdAt", "-createdAt", "name", "-name", "updatedAt", "-updatedAt"} {
		all := ids(w.get("/templates/credentials?sort=" + order).want(200).items())
		if len(all) != 7 {
			t.Fatalf("%s lists %d", order, len(all))
		}
		for _, size := range []int{1, 2, 3} {
			if got := slices.Concat(w.walk(path+order+fmt.Sprint("&page[size]=", size), "next")...); !slices.Equal(got, all) {
				t.Errorf("%s by %d: %v, want %v", order, size, got, all)
			}
			back := w.walk(path+order+fmt.Sprintf("&page[size]=%d&page[before]=%s", size, all[6]), "prev")
			slices.Reverse(back)
			if got := append(slices.Concat(back...), all[6]); !slices.Equal(got, all) {
				t.Errorf("%s back by %d: %v, want %v", order, size, got, all)
			}
		}
		opposite := "-" + order
		if strings.HasPrefix(order, "-") {
			opposite = order[1:]
		}
		other := ids(w.get("/templates/credentials?sort=" + opposite).items())
		if slices.Reverse(other); !slices.Equal(other, all) {
			t.Errorf("%s is %v, but %s backwards %v", order, all, opposite, other)
		}
	}
	var names []string
	for _, id := range ids(w.get("/templates/credentials?sort=name").items()) {
		names = append(names, strings.ToLower(made[id]))
	}
	if !slices.IsSorted(names) {
		t.Errorf("by name %v", names)
	}
	if found := w.get("/templates/credentials?search[name]=%C3%96").items(); len(found) != 2 { // Ö
		t.Errorf("Ö finds %d, want Öl and öl", len(found))
	}
	w.get("/templates/credentials?sort=code").refused(400, "VALIDATION_ERROR", "sort")
}

// A template that is changed while somebody walks the list hides no other.
func TestAChangeHidesNoOtherTemplate(t *testing.T) {
	w := newWorld(t)
	for i := range 6 {
		w.post("/templates/credentials", fmt.Sprintf(`{"name":"n%d","code":"T%d","attributes":{"a":{"type":"string"}}}`, i, i)).want(201)
	}
	for order, change := range map[string]string{"updatedAt": `{"description":"changed"}`, "name": `{"name":"zz"}`} {
		page := w.get("/templates/credentials?page[size]=3&sort=" + order).want(200)
		w.clock.advance(time.Second)
		boundary := ids(page.items())[2]
		w.request("PATCH", "/templates/credentials/"+boundary, change).want(200)
		rest := slices.Concat(w.walk(page.body()["links"].(map[string]any)["next"].(string), "next")...)
		others := slices.DeleteFunc(slices.Clone(rest), func(id string) bool { return id == boundary })
		if len(others) != 3 || !slices.Contains(rest, boundary) || slices.ContainsFunc(others, func(id string) bool { return slices.Contains(ids(page.items()), id) }) {
			t.Errorf("by %s behind a boundary that was changed: %v", order, rest)
		}
	}
	boundary := ids(w.get("/templates/credentials").items())[0]
	for _, cursor := range []string{"nothing", boundary + "._w", boundary + ".AA", boundary + ".!"} { // no UTF-8, 0, no base64
		w.get("/templates/credentials?sort=name&page[after]="+cursor).refused(400, "VALIDATION_ERROR", "page[after]")
	}
	for _, cursor := range []string{"nothing", boundary + ".x", boundary + "."} {
		w.get("/templates/credentials?sort=updatedAt&page[after]="+cursor).refused(400, "VALIDATION_ERROR", "page[after]")
	}
}

// What is to be certified is held against the template, attribute by attribute,
// and the error never repeats it.
func TestClaimsAreChecked(t *testing.T) {
	w := newWorld(t)
	id := w.post("/templates/credentials", `{"name":"N","code":"C","attributes":{
		"s":{"type":"string","required":true},"n":{"type":"number"},"b":{"type":"boolean"},"d":{"type":"date"},"a/b.c":{"type":"string"}}}`).want(201).data()["id"].(string)
	offered := func(rest string) answer {
		return w.post("/credentials/issuance", `{"credentialTemplateId":"`+id+`","attributes":{`+rest+`}}`)
	}
	long := strings.Repeat("x", 8<<10)
	for _, good := range []string{
		`"s":"0"`, `"s":"` + long + `"`, `"s":"S","n":-0.5e-3`, `"s":"S","n":9007199254740991`, `"s":"S","n":-9007199254740991`, `"s":"S","b":false`,
		`"s":"S","d":"2024-02-29"`, `"s":"S","d":"0001-01-01"`, `"s":"S","a/b.c":""`,
	} {
		if a := offered(good); a.status != 201 {
			t.Errorf("%.60s is refused: %s", good, a.text)
		}
	}
	for rest, at := range map[string]string{
		``: "s", `"s":null`: "s", `"s":""`: "s", `"s":" \t"`: "s", `"s":1`: "s", `"s":true`: "s", `"s":["Zainab"]`: "s", `"s":{"x":"Zainab"}`: "s", `"s":"` + long + `y"`: "s",
		`"s":"S","n":"1"`: "n", `"s":"S","n":null`: "n", `"s":"S","n":1e400`: "n", `"s":"S","n":-1e400`: "n", `"s":"S","n":9007199254740993`: "n", `"s":"S","n":[1]`: "n",
		`"s":"S","n":{"$numberLong":"1"}`: "n", `"s":"S","b":"true"`: "b", `"s":"S","b":0`: "b", `"s":"S","b":null`: "b",
		`"s":"S","d":"2025-02-30"`: "d", `"s":"S","d":"2025-02-29"`: "d", `"s":"S","d":"2025-2-3"`: "d", `"s":"S","d":"2025-01-01T00:00:00Z"`: "d", `"s":"S","d":""`: "d",
		`"s":"S","d":"20250101"`: "d", `"s":"S","d":20250101`: "d", `"s":"S","d":null`: "d", `"s":"S","d":" 2025-01-01"`: "d", `"s":"S","d":"10000-01-01"`: "d",
		`"s":"S","x":"Zainab"`: "x", `"s":"S","S":"Zainab"`: "S", `"s":"S","a/b.c":1`: "a~1b.c", `"s":"S","a/b~d":1`: "a~1b~0d",
	} {
		if a := offered(rest).refused(400, "VALIDATION_ERROR", "/attributes/"+at); strings.Contains(a.text, "Zainab") {
			t.Errorf("a claim is repeated: %s", a.text)
		}
	}
	for _, bad := range []string{`"s":NaN`, `"s":"S","n":NaN`, `"s":"S","n":Infinity`, `"s":"S","n":0x10`, `"s":"S","n":01`, `"s":"S","s":"T"`} {
		if a := offered(bad).want(400); !strings.Contains(a.text, "VALIDATION_ERROR") {
			t.Errorf("%s: %s", bad, a.text)
		}
	}
}
