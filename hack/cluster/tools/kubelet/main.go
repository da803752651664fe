// The process node's endpoint for the API server: it forwards ports, as a kubelet does, with Kubernetes' own package for
// it (kubectl and the API server speak SPDY here), and hands everything else on to the node itself.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
)

const (
	// The kubelet's own: streamingConnectionIdleTimeout, and its time for the streams of one connection.
	idle            = 4 * time.Hour
	streamCreation  = 30 * time.Second
	dialTimeout     = 5 * time.Second
	addressTimeout  = 5 * time.Second
	longestAddress  = 64
	readHeaderLimit = 10 * time.Second
)

type node struct {
	url    *url.URL
	client *http.Client
}

// address answers the address of a Pod.
func (n *node) address(ctx context.Context, namespace, pod string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, addressTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url.JoinPath("podAddress", namespace, pod).String(), nil)
	if err != nil {
		return "", err
	}
	response, err := n.client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, longestAddress))
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("pod %s/%s: %s", namespace, pod, body)
	}
	return string(body), nil
}

type forwarder struct{ address string }

// PortForward carries one connection, until both sides have nothing more to say or the Pod's side is closed.
func (f forwarder) PortForward(ctx context.Context, _ string, _ string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	dialer := net.Dialer{Timeout: dialTimeout}
	connection, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(f.address, strconv.Itoa(int(port))))
	if err != nil {
		return err
	}
	defer connection.Close()
	go func() {
		_, _ = io.Copy(connection, stream)
		_ = connection.(*net.TCPConn).CloseWrite()
	}()
	_, err = io.Copy(stream, connection)
	return err
}

func (n *node) forward(writer http.ResponseWriter, request *http.Request) {
	pod := request.PathValue("pod")
	address, err := n.address(request.Context(), request.PathValue("namespace"), pod)
	if err != nil {
		http.Error(writer, err.Error(), http.StatusNotFound)
		return
	}
	options, err := portforward.NewV4Options(request)
	if err != nil {
		http.Error(writer, err.Error(), http.StatusBadRequest)
		return
	}
	portforward.ServePortForward(
		writer, request, forwarder{address}, pod, "", options, idle, streamCreation, portforward.SupportedProtocols,
	)
}

func main() {
	listen := flag.String("listen", "", "address to listen on")
	backend := flag.String("node", "", "URL of the node's own endpoint")
	authority := flag.String("authority", "", "PEM file of the cluster's CA")
	certificate := flag.String("certificate", "", "PEM file of the certificate, as a server and as a client")
	key := flag.String("key", "", "PEM file of its key")
	flag.Parse()
	if err := serve(*listen, *backend, *authority, *certificate, *key); err != nil {
		log.Fatal(err)
	}
}

func serve(listen, backend, authority, certificate, key string) error {
	pem, err := os.ReadFile(authority)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("no certificate in %s", authority)
	}
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return err
	}
	target, err := url.Parse(backend)
	if err != nil {
		return err
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}}}
	handler := &node{target, &http.Client{Transport: transport}}
	everything := &httputil.ReverseProxy{
		Rewrite:       func(request *httputil.ProxyRequest) { request.SetURL(target) },
		Transport:     transport,
		FlushInterval: -1, // a log that is followed comes line by line
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/portForward/{namespace}/{pod}", handler.forward)
	mux.Handle("/", everything)
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: readHeaderLimit,
		TLSConfig: &tls.Config{
			ClientAuth:   tls.RequireAndVerifyClientCert,
			ClientCAs:    pool,
			Certificates: []tls.Certificate{pair},
			NextProtos:   []string{"http/1.1"}, // SPDY takes over the whole connection
		},
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	log.Printf("listening on %s", listener.Addr())
	return server.ServeTLS(listener, "", "")
}
