package redisstore_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// wire stands between clients and a server: it counts the commands, and can lose answers or keep them.
type wire struct {
	addr   string
	server string
	group  sync.WaitGroup

	mu       sync.Mutex
	commands []string   // guarded by mu
	lose     string     // the command whose answer is lost; guarded by mu
	then     func()     // guarded by mu
	keep     bool       // no answer reaches a client; guarded by mu
	cut      bool       // no connection is let through; guarded by mu
	open     []net.Conn // guarded by mu
}

// between returns a wire to the server at addr, which ends with the test.
func between(t testing.TB, server string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := &wire{addr: l.Addr().String(), server: server}
	w.group.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			w.group.Go(func() { w.carry(client) })
		}
	})
	t.Cleanup(func() {
		require.NoError(t, l.Close())
		w.cutAll()
		w.group.Wait()
	})
	return w
}

// carry carries one connection.
func (w *wire) carry(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", w.server)
	if err != nil {
		return
	}
	defer server.Close()
	w.mu.Lock()
	w.open = append(w.open, client, server)
	cut := w.cut
	w.mu.Unlock()
	if cut {
		return
	}
	losing := make(chan func(), 1)
	w.group.Go(func() { // answers
		defer client.Close()
		answer := make([]byte, 64<<10)
		for {
			n, err := server.Read(answer)
			if err != nil {
				return
			}
			select {
			case then := <-losing:
				then()
				return
			default:
			}
			w.mu.Lock()
			kept := w.keep
			w.mu.Unlock()
			if kept {
				continue
			}
			if _, err := client.Write(answer[:n]); err != nil {
				return
			}
		}
	})
	defer server.Close()
	from := bufio.NewReader(client)
	for {
		cmd, raw, err := readCommand(from)
		if err != nil {
			return
		}
		w.mu.Lock()
		w.commands = append(w.commands, cmd)
		if w.lose == cmd {
			losing <- w.then
			w.lose = ""
		}
		w.mu.Unlock()
		if _, err := server.Write(raw); err != nil {
			return
		}
	}
}

// readCommand reads an array of strings (RESP): its first word, and all of it.
func readCommand(from *bufio.Reader) (string, []byte, error) {
	line, err := from.ReadString('\n')
	if err != nil {
		return "", nil, err
	}
	raw := []byte(line)
	n, err := strconv.Atoi(strings.Trim(line, "*\r\n"))
	if err != nil {
		return "", raw, err
	}
	first := ""
	for i := range n {
		if line, err = from.ReadString('\n'); err != nil {
			return "", nil, err
		}
		length, err := strconv.Atoi(strings.Trim(line, "$\r\n"))
		if err != nil {
			return "", nil, err
		}
		word := make([]byte, length+2)
		if _, err := io.ReadFull(from, word); err != nil {
			return "", nil, err
		}
		if raw = append(append(raw, line...), word...); i == 0 {
			first = strings.ToUpper(string(word[:length]))
		}
	}
	return first, raw, nil
}

// sent returns the commands of call, without those that set a connection up.
func (w *wire) sent(call func()) []string {
	w.mu.Lock()
	w.commands = nil
	w.mu.Unlock()
	call()
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.commands), func(cmd string) bool { return cmd == "HELLO" || cmd == "CLIENT" })
}

// loseAnswer has the answer to the next command called name lost.
func (w *wire) loseAnswer(name string) { w.loseAnswerThen(name, func() {}) }

// loseAnswerThen calls then when the server has made the change and before the client learns that the answer is lost.
func (w *wire) loseAnswerThen(name string, then func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lose, w.then = name, then
}

// keepAnswers has every answer kept, or not any more.
func (w *wire) keepAnswers(keep bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keep = keep
}

// cutAll cuts every connection there is.
func (w *wire) cutAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, conn := range w.open {
		_ = conn.Close() // closed already: fine
	}
	w.open = nil
}

// cutForGood cuts every connection, also those to come.
func (w *wire) cutForGood() {
	w.mu.Lock()
	w.cut = true
	w.mu.Unlock()
	w.cutAll()
}

// refusing is a server that gives one answer to every command but those that set a connection up.
func refusing(t testing.TB, answer string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var group sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn // guarded by mu
	group.Go(func() {
		for {
			conn, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			group.Go(func() {
				from := bufio.NewReader(conn)
				for {
					cmd, _, err := readCommand(from)
					if err != nil {
						return
					}
					said := "-" + answer + "\r\n"
					switch cmd {
					case "HELLO":
						said = "-ERR unknown command\r\n" // then go-redis speaks RESP2
					case "CLIENT":
						said = "+OK\r\n"
					}
					if _, err := conn.Write([]byte(said)); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		require.NoError(t, l.Close())
		mu.Lock()
		for _, conn := range open {
			_ = conn.Close()
		}
		mu.Unlock()
		group.Wait()
	})
	return l.Addr().String()
}
