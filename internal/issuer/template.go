package issuer

import (
	"context"
	"sync"
	"time"

	"tidings"
)

// maxTemplates is how many templates are kept ready, of all organisations.
const maxTemplates = 1000

// templates are those that were asked for, without what can change of them: what a
// credential says by its template is fixed when that is made. So no node has to
// learn of another's changes.
type templates struct {
	mu   sync.Mutex
	byID map[templateKey]tidings.Template
}

type templateKey struct {
	organisation int64
	id           string
}

// fixedTemplate gives a template without its name, its looks, and whether it is
// archived.
func (s *Issuer) fixedTemplate(ctx context.Context, org int64, id string) (tidings.Template, error) {
	key := templateKey{org, id}
	s.templates.mu.Lock()
	t, ok := s.templates.byID[key]
	s.templates.mu.Unlock()
	if ok {
		return t, nil
	}
	t, err := s.store.Template(ctx, org, id)
	if err != nil {
		return t, err
	}
	t.Name, t.Description, t.Display, t.UpdatedAt, t.ArchivedAt = "", "", nil, time.Time{}, nil
	s.templates.mu.Lock()
	defer s.templates.mu.Unlock()
	if s.templates.byID == nil || len(s.templates.byID) >= maxTemplates {
		s.templates.byID = map[templateKey]tidings.Template{}
	}
	s.templates.byID[key] = t
	return t, nil
}
