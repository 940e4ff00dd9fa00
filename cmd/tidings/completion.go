package main

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCommand struct {
	Bash  completionBash  `cmd:"" help:"For bash: source <(tidings completion bash)"`
	Zsh   completionZsh   `cmd:"" help:"For zsh: source <(tidings completion zsh)"`
	Fish  completionFish  `cmd:"" help:"For fish: tidings completion fish | source"`
	Words completionWords `cmd:"" hidden:"" help:"What may follow these words; the shells ask this."`
}

type completionBash struct{}

// Run prints what bash sources.
func (completionBash) Run(env *environment) error {
	_, err := fmt.Fprint(env.stdout, `_tidings() {
  local IFS=$'\n'
  COMPREPLY=($(compgen -W "$(tidings completion words -- "${COMP_WORDS[@]:1:COMP_CWORD-1}" 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _tidings tidings
`)
	return err
}

type completionZsh struct{}

// Run prints what zsh sources.
func (completionZsh) Run(env *environment) error {
	_, err := fmt.Fprint(env.stdout, `#compdef tidings
_tidings() {
  local -a candidates
  candidates=("${(@f)$(tidings completion words -- "${(@)words[2,CURRENT-1]}" 2>/dev/null)}")
  [[ -n "$candidates" ]] && compadd -a candidates || _files
}
compdef _tidings tidings
`)
	return err
}

type completionFish struct{}

// Run prints what fish sources.
func (completionFish) Run(env *environment) error {
	_, err := fmt.Fprint(env.stdout, `complete -c tidings -a '(tidings completion words -- (commandline -opc)[2..] 2>/dev/null)'
`)
	return err
}

type completionWords struct {
	Before []string `arg:"" optional:"" passthrough:""`
}

// Run prints what may follow, one word a line.
func (c completionWords) Run(env *environment) error {
	parser, err := kong.New(&cli{}, kong.Name("tidings"))
	if err != nil {
		return err
	}
	before := c.Before
	if len(before) > 0 && before[0] == "--" {
		before = before[1:]
	}
	for _, word := range candidates(parser.Model.Node, before) {
		if _, err := fmt.Fprintln(env.stdout, word); err != nil {
			return err
		}
	}
	return nil
}

// candidates gives what may follow the words: commands, the values of a flag,
// or flags.
func candidates(node *kong.Node, before []string) (out []string) {
	var waiting *kong.Flag // a flag whose value comes next
	for _, word := range before {
		if waiting != nil {
			waiting = nil
			continue
		}
		if strings.HasPrefix(word, "-") {
			waiting = flagOf(node, word)
			continue
		}
		for _, child := range node.Children {
			if child.Name == word {
				node = child
				break
			}
		}
	}
	if waiting != nil {
		return waiting.EnumSlice()
	}
	for _, child := range node.Children {
		if !child.Hidden {
			out = append(out, child.Name)
		}
	}
	if len(node.Children) > 0 {
		return out
	}
	for _, group := range node.AllFlags(true) {
		for _, f := range group {
			out = append(out, "--"+f.Name)
		}
	}
	return out
}

// flagOf gives the flag that a word names, if its value is the next word.
func flagOf(node *kong.Node, word string) *kong.Flag {
	for _, group := range node.AllFlags(false) {
		for _, f := range group {
			if (word == "--"+f.Name || f.Short != 0 && word == "-"+string(f.Short)) && !f.IsBool() {
				return f
			}
		}
	}
	return nil
}
