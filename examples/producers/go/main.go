// Submit a task to an agent's queue and wait for its result:
//
//	go run . redis://127.0.0.1:6379/0 default/writer "Write a haiku about queues" high
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/redis/go-redis/v9"
)

func main() {
	if len(os.Args) < 4 {
		log.Fatal("usage: producer REDIS_URL NAMESPACE/AGENT PROMPT [high|normal|low]")
	}
	url, base, prompt := os.Args[1], "ark:{"+os.Args[2]+"}", os.Args[3]
	stream, prefix := base+":tasks", ""
	if len(os.Args) > 4 {
		switch priority := os.Args[4]; priority {
		case "normal":
		case "high", "low":
			stream, prefix = stream+":"+priority, priority+"-"
		default:
			log.Fatalf("priority is %q, not one of high, normal, low", priority)
		}
	}
	options, err := redis.ParseURL(url)
	if err != nil {
		log.Fatal(err)
	}
	client := redis.NewClient(options)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()

	entry, err := client.XAdd(ctx, &redis.XAddArgs{Stream: stream, Values: []string{"prompt", prompt}}).Result()
	if err != nil {
		log.Fatalf("cannot submit: %v", err)
	}
	task := prefix + entry
	fmt.Fprintln(os.Stderr, "submitted", task)
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		result, err := client.HGetAll(ctx, base+":results:"+task).Result()
		switch {
		case err != nil:
			log.Fatalf("cannot read the result of %s, it stays in the queue: %v", task, err)
		case result["status"] == "completed":
			fmt.Println(result["output"])
			return
		case result["status"] != "":
			log.Fatalf("task %s is %s, attempts: %s. %s", task, result["status"], result["attempts"], result["error"])
		}
		time.Sleep(pause)
	}
}
